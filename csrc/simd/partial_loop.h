// Partial loads and stores for ISAs without masks. Included inside the namespace of an ISA header, behind its types.
// The first n lanes, 0 <= n <= lanes; the others read as 0. Only the last block of a row comes here.
template <class V, class T>
inline V load_lanes(const T* p, ptrdiff_t n) {
  T lane[VEC_BYTES / sizeof(T)] = {};
  for (ptrdiff_t i = 0; i < n; ++i) lane[i] = p[i];
  V v;
  __builtin_memcpy(&v, lane, sizeof v);
  return v;
}
template <class V, class T>
inline void store_lanes(T* p, V v, ptrdiff_t n) {
  T lane[VEC_BYTES / sizeof(T)];
  __builtin_memcpy(lane, &v, sizeof v);
  for (ptrdiff_t i = 0; i < n; ++i) p[i] = lane[i];
}
inline f32v load_partial(const float* p, ptrdiff_t n) { return load_lanes<f32v>(p, n); }
inline f64v load_partial(const double* p, ptrdiff_t n) { return load_lanes<f64v>(p, n); }
inline void store_partial(float* p, f32v v, ptrdiff_t n) { store_lanes(p, v, n); }
inline void store_partial(double* p, f64v v, ptrdiff_t n) { store_lanes(p, v, n); }
