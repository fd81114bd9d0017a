/** Prefetches values: `size` bytes of each of a head's panels, which begin `stride` bytes apart. */
export function readValuesAhead(values: usize, stride: usize, panels: i32, size: usize, sink: usize): void {
  // eight panels at once, or the halves of four; the last ones again, if their number is no multiple of that
  const atOnce = panels < 8 ? 4 : 8
  const last = max(0, panels - atOnce)
  const half = panels < 8 ? (size >> 1) & ~31 : 4 * stride
  const length = panels < 8 ? size - half : size
  const between: usize = panels < 4 ? 0 : stride
  for (let panel = 0; panel < panels; panel += atOnce) readAhead(values + <usize>min(panel, last) * stride, between, half, length, sink)
}

/**
 * Prefetches keys or values, at memory speed: four blocks of `size` bytes (a multiple of 32), `stride` bytes apart, and four
 * more, each `half` bytes behind one of them. The chains of a single row take every value of four panels in turn, too slowly
 * for hardware prefetching, which begins anew on every page: so of values, whose panels are a page or two, four streams
 * reach 12 GB/s and eight 16 (docs/measurements/zen4.md). The result is stored at `sink`, so that no compiler removes the
 * loads.
 */
export function readAhead(from: usize, stride: usize, half: usize, size: usize, sink: usize): void {
  const end = from + size
  const second = from + stride
  const third = second + stride
  const fourth = third + stride
  let a = i32x4.splat(0)
  let b = a
  let c = a
  let d = a
  // the last line of an odd number of half lines, too
  for (let at: usize = 0; from + at < end; at += 64) {
    a = v128.or(a, v128.or(v128.load(from + at), v128.load(from + half + at)))
    b = v128.or(b, v128.or(v128.load(second + at), v128.load(second + half + at)))
    c = v128.or(c, v128.or(v128.load(third + at), v128.load(third + half + at)))
    d = v128.or(d, v128.or(v128.load(fourth + at), v128.load(fourth + half + at)))
  }
  v128.store(sink, v128.or(v128.or(a, b), v128.or(c, d)))
}
