#include "camera_model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rt_hands {

namespace {

// Where 1 + a s + b s^2 + c s^3 is 0, known to happen once in (low, high] and to go from above 0 to below it there.
double crossing(double a, double b, double c, double low, double high) {
    const auto value = [=](double s) { return 1 + s * (a + s * (b + s * c)); };
    // Twice as far each time gives a narrow bracket for Newton: `high` may be as good as infinite.
    double s = low > 0 ? 2 * low : std::min(1.0, 1 / (std::fabs(a) + std::fabs(b) + std::fabs(c)));
    s = std::max(s, std::numeric_limits<double>::min());  // terms that overflow give 0, which doubling leaves 0
    for (; s < high && value(s) > 0; s *= 2) low = s;
    high = std::min(s, high);
    s = 0.5 * (low + high);
    for (int i = 0; i < 60; ++i) {
        const double above = value(s);
        (above > 0 ? low : high) = s;
        const double newton = s - above / (a + s * (2 * b + s * 3 * c));
        const double next = newton > low && newton < high ? newton : 0.5 * (low + high);  // halve where Newton leaves
        if (std::fabs(next - s) <= 1e-7 * s) return next;  // the step after it is its square
        s = next;
    }
    return s;
}

}  // namespace

double fold_radius2(double k1, double k2, double k3) {
    constexpr double none = std::numeric_limits<double>::infinity();
    if (k1 >= 0 && k2 >= 0 && k3 >= 0) return none;
    // The slope of the radial model, as a cubic in s = r^2, starts at 1. It can only turn at the roots of its own
    // derivative, so between those it is monotonic and crosses 0 at most once.
    const double a = 3 * k1, b = 5 * k2, c = 7 * k3, square = b * b - 3 * a * c;
    double turns[3] = {none, none, none};
    if (c == 0) {
        if (b != 0) turns[0] = -a / (2 * b);
    } else if (square >= 0) {
        const double root = std::sqrt(square), inverse = 1 / (3 * c);
        turns[0] = std::min((-b - root) * inverse, (-b + root) * inverse);
        turns[1] = std::max((-b - root) * inverse, (-b + root) * inverse);
    }
    double low = 0;
    for (double turn : turns) {
        if (!(turn > low)) continue;
        const double high = std::min(turn, 1e12);  // a lens folding beyond tan = 1e6 never folds in practice
        if (1 + high * (a + high * (b + high * c)) <= 0) return crossing(a, b, c, low, high);
        low = high;
    }
    return none;
}

}  // namespace rt_hands
