import { type Opcode, RotaryFromAngles, RotaryFromPositions, Rotate } from '../../../../../assembly/ir/ops.js'
import type { Kernel } from '../../kernel.js'
import { COSINE_SINE } from '../wgsl/math.js'
import { ROW_WIDTH } from '../wgsl/rows.js'

/**
 * `RotaryFromPositions`. WGSL has no float64: a frequency is a 64-bit fraction of a turn (made by `packWeights`), whose
 * product with a position is exact modulo a turn, so position 10,000,000 is as exact as 10.
 */
export const rotaryFromPositions: Kernel<Opcode.RotaryFromPositions> = {
  name: 'rotary-from-positions',
  operands: {
    count: RotaryFromPositions.Rows,
    start: RotaryFromPositions.Position,
    indices: RotaryFromPositions.Indices,
    positions: RotaryFromPositions.Positions,
    first: RotaryFromPositions.First,
    frequencies: RotaryFromPositions.Frequencies,
    output: RotaryFromPositions.Output,
  },
  view: 'words',
  code: `
${COSINE_SINE}
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(global_invocation_id) id: vec3u) {
  let width = u32(word(${RotaryFromPositions.Width}));
  let half = width / 2u;
  let row = id.y;
  let j = id.x;
  if (j >= half || row >= u32(count_i(0))) { return; }
  var low = row;
  var high = 0u;
  if (positions_given()) {
    let at = 2u * (u32(select(0, first_i(0), first_given())) + row);
    low = u32(positions_i(at));
    high = u32(positions_i(at + 1u));
  } else if (indices_given()) {
    low = u32(indices_i(row));
  } else {
    low += u32(start_i(0));
    high = u32(start_i(1)) + select(0u, 1u, low < row);
  }
  let frequency = vec2u(u32(frequencies_i(2u * j)), u32(frequencies_i(2u * j + 1u)));
  let turn = wide_product(low, frequency.x).y + low * frequency.y + high * frequency.x;
  let value = cosine_sine(turn);
  let at = row * 2u * width + j;
  output_set_f(at, value.x);
  output_set_f(at + half, value.x);
  output_set_f(at + width, value.y);
  output_set_f(at + width + half, value.y);
}`,
  workgroups: (op) => [Math.ceil(op.words[RotaryFromPositions.Width]! / 2 / ROW_WIDTH), op.rows(RotaryFromPositions.Rows)],
}

/**
 * `RotaryFromAngles`: multiplies an angle's bits by the relevant bits of 1 / 2π, so that large angles are as exact as
 * small ones.
 */
export const rotaryFromAngles: Kernel<Opcode.RotaryFromAngles> = {
  name: 'rotary-from-angles',
  operands: {
    count: RotaryFromAngles.Rows,
    start: RotaryFromAngles.Position,
    indices: RotaryFromAngles.Indices,
    angles: RotaryFromAngles.Angles,
    output: RotaryFromAngles.Output,
  },
  view: 'words',
  code: `
${COSINE_SINE}
/* 1 / 2π, 192 bits after the point, padded with zeros on both sides */
const TURNS = array<u32, 10>(0u, 0u, 0x28be60dbu, 0x9391054au, 0x7f09d5f4u, 0x7d4d3770u, 0x36d8a566u, 0x4f10e410u, 0u, 0u);
fn turns_from(bit: u32) -> u32 {
  var table = TURNS;
  let high = table[min(bit / 32u, 9u)];
  let low = table[min(bit / 32u + 1u, 9u)];
  let shift = bit % 32u;
  return select((high << shift) | (low >> (32u - max(shift, 1u))), high, shift == 0u);
}
fn turn_of(angle: u32) -> u32 {
  let exponent = (angle >> 23u) & 0xffu;
  let mantissa = select((angle & 0x7fffffu) | 0x800000u, (angle & 0x7fffffu) << 1u, exponent == 0u);
  /* the first bit that counts: the mantissa is an integer times 2^(exponent - 150) */
  let bit = i32(exponent) - 150 + 64;
  if (bit < 0) { return 0u; }
  let turn = wide_product(mantissa, turns_from(u32(bit) + 32u)).y + mantissa * turns_from(u32(bit));
  return select(turn, 0u - turn, (angle >> 31u) == 1u);
}
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(global_invocation_id) id: vec3u) {
  let width = u32(word(${RotaryFromAngles.Width}));
  let row = id.y;
  if (id.x >= width || row >= u32(count_i(0))) { return; }
  var position = row;
  if (indices_given()) { position = u32(indices_i(row)); } else { position += u32(start_i(0)); }
  let value = cosine_sine(turn_of(u32(angles_i(position * width + id.x))));
  output_set_f(row * 2u * width + id.x, value.x);
  output_set_f(row * 2u * width + width + id.x, value.y);
}`,
  workgroups: (op) => [Math.ceil(op.words[RotaryFromAngles.Width]! / ROW_WIDTH), op.rows(RotaryFromAngles.Rows)],
}

/** `Rotate`: one invocation per pair of each head. */
export const rotate: Kernel<Opcode.Rotate> = {
  name: 'rotate',
  operands: { count: Rotate.Rows, values: Rotate.Values, table: Rotate.Table, indices: Rotate.Indices },
  view: 'words',
  code: `
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(global_invocation_id) id: vec3u) {
  let half = u32(word(${Rotate.HeadWidth})) / 2u;
  let width = u32(word(${Rotate.TableWidth}));
  let row = id.y;
  let head = id.x / half;
  let j = id.x % half;
  if (head >= u32(word(${Rotate.Heads})) || row >= u32(count_i(0))) { return; }
  var table_row = row;
  if (indices_given()) { table_row = u32(indices_i(row)); }
  let cosine = table_row * 2u * width + head * u32(word(${Rotate.AngleStride})) + j;
  let at = row * u32(word(${Rotate.Stride})) + head * u32(word(${Rotate.HeadStride})) + j;
  let a = values_f(at);
  let b = values_f(at + half);
  values_set_f(at, fma(a, table_f(cosine), -(b * table_f(cosine + width))));
  values_set_f(at + half, fma(b, table_f(cosine + half), a * table_f(cosine + width + half)));
}`,
  workgroups: (op) => {
    const { words } = op
    return [Math.ceil((words[Rotate.Heads]! * words[Rotate.HeadWidth]!) / 2 / ROW_WIDTH), op.rows(Rotate.Rows)]
  },
}
