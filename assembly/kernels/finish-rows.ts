import { geluLanes } from '../math/gelu'
import { Activation } from '../ir/values'
import { PANEL_ROW } from './gemm'

/**
 * Operations after the last k, in this order: bias, activation, addition to `addTo`. Row by row, since rows may be a
 * multiple of 4 KiB apart, of which a first-level cache holds only a dozen.
 */
export function finishRows(rows: i32, panels: i32, c: usize, ldc: usize, bias: usize, activation: i32, addTo: usize): void {
  if (bias == 0 && addTo == 0 && activation == Activation.None) return
  const width = <usize>panels * PANEL_ROW
  for (let row = 0; row < rows; ++row) {
    for (let at: usize = 0; at < width; at += PANEL_ROW) {
      let v0 = v128.load(c + at)
      let v1 = v128.load(c + at, 16)
      if (bias) {
        v0 = f32x4.add(v0, v128.load(bias + at))
        v1 = f32x4.add(v1, v128.load(bias + at, 16))
      }
      if (activation == Activation.Gelu) {
        v0 = geluLanes(v0)
        v1 = geluLanes(v1)
      }
      const target = addTo ? addTo + at : c + at
      if (addTo) {
        v0 = f32x4.add(v128.load(target), v0)
        v1 = f32x4.add(v128.load(target, 16), v1)
      }
      v128.store(target, v0)
      v128.store(target, v1, 16)
    }
    c += ldc
    if (addTo) addTo += ldc
  }
}
