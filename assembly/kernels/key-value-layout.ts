import { floats } from '../operands'

/*
 * Keys are laid out across lanes, [key / 8][channel][8 keys], so that a score is one chain over channels. Values are
 * laid out as [channel / 8][key][8 channels], so that an output is one chain over keys, ascending.
 */

/** Scatters one head's key across the lanes of its panel. */
export function storeKey(key: usize, keys: usize, index: i32, headStride: i32): void {
  let to = keys + floats((index >> 3) * headStride) * 8 + floats(index & 7)
  for (let channel = 0; channel < headStride; channel += 4, key += 16, to += 128) {
    const v = v128.load(key)
    v128.store32_lane(to, v, 0)
    v128.store32_lane(to, v, 1, 32)
    v128.store32_lane(to, v, 2, 64)
    v128.store32_lane(to, v, 3, 96)
  }
}

/** The same for four keys whose first index is a multiple of 4, storing one vector of four keys per channel. */
export function storeFourKeys(key0: usize, key1: usize, key2: usize, key3: usize, keys: usize, index: i32, headStride: i32): void {
  let to = keys + floats((index >> 3) * headStride) * 8 + floats(index & 7)
  const end = key0 + floats(headStride)
  for (; key0 < end; key0 += 16, key1 += 16, key2 += 16, key3 += 16, to += 128) {
    const v0 = v128.load(key0)
    const v1 = v128.load(key1)
    const v2 = v128.load(key2)
    const v3 = v128.load(key3)
    const low01 = v128.shuffle<f32>(v0, v1, 0, 4, 1, 5)
    const low23 = v128.shuffle<f32>(v2, v3, 0, 4, 1, 5)
    const high01 = v128.shuffle<f32>(v0, v1, 2, 6, 3, 7)
    const high23 = v128.shuffle<f32>(v2, v3, 2, 6, 3, 7)
    v128.store(to, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5))
    v128.store(to, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7), 32)
    v128.store(to, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5), 64)
    v128.store(to, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7), 96)
  }
}

/** Writes one head's value into its row of each channel panel. */
export function storeValue(value: usize, values: usize, index: i32, headStride: i32, capacity: i32): void {
  let to = values + floats(index) * 8
  for (let channel = 0; channel < headStride; channel += 8, value += 32, to += floats(capacity) * 8) {
    v128.store(to, v128.load(value))
    v128.store(to, v128.load(value, 16), 16)
  }
}
