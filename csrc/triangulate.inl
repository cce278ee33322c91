static void triangulate(const double*, const double*, std::int64_t count, const CameraModel*,
                 std::int64_t views, const TriangulateOptions& , double* points_mm, double* residual_px,
                 std::int64_t* views_used, std::uint8_t* used) {
    for (std::int64_t i = 0; i < count; ++i) { points_mm[3*i]=points_mm[3*i+1]=points_mm[3*i+2]=residual_px[i]=std::nan(""); views_used[i]=0; }
    for (std::int64_t i = 0; i < count*views; ++i) used[i]=0;
}
