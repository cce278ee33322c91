#include "camera_model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rt_hands {

double fold_radius2(double k1, double k2, double k3) {
    constexpr double none = std::numeric_limits<double>::infinity();
    if (k1 >= 0 && k2 >= 0 && k3 >= 0) return none;
    // The slope, as a cubic in s = r^2, starts at 1. It can only turn at the roots of its own derivative, so
    // between those it is monotonic and one bisection finds the first crossing.
    const auto slope = [&](double s) { return 1 + s * (3 * k1 + s * (5 * k2 + s * 7 * k3)); };
    const double a = 21 * k3, b = 10 * k2, c = 3 * k1;
    double turns[3] = {none, none, none};
    if (a == 0) {
        if (b != 0) turns[0] = -c / b;
    } else if (b * b >= 4 * a * c) {
        const double root = std::sqrt(b * b - 4 * a * c);
        turns[0] = std::min((-b - root) / (2 * a), (-b + root) / (2 * a));
        turns[1] = std::max((-b - root) / (2 * a), (-b + root) / (2 * a));
    }
    double low = 0;
    for (double turn : turns) {
        if (!(turn > low)) continue;
        double high = std::min(turn, 1e12);  // a lens folding beyond tan = 1e6 never folds in practice
        if (slope(high) <= 0) {
            for (int i = 0; i < 60; ++i) {
                const double middle = 0.5 * (low + high);
                (slope(middle) > 0 ? low : high) = middle;
            }
            return low;
        }
        low = high;
    }
    return none;
}

}  // namespace rt_hands
