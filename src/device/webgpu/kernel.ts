import { Piece } from '../../../assembly/steps.js'

/** How many workgroups run a step, along each dimension. */
export type Workgroups = readonly [x: number, y?: number, z?: number]

/** One step of a program and the header of one run, as the host sees them. */
export interface StepView {
  readonly words: Int32Array
  readonly header: Int32Array
  /** Most rows that the count at an operand can be: the header's word where it lies there, otherwise what bounds it. */
  rows(operand: number, limit?: Piece): number
}

/**
 * A compute shader that runs one kind of step: every value of it depends on operands and words alone, so one pipeline serves all steps whose operands
 * lie in the same buffers.
 *
 * Its WGSL sees storage buffers of 32-bit words through functions that are written for each operand `x`, indices in words from the operand's start:
 * `x_f(i)`, `x_i(i)` read a float or an integer, `x_set_f(i, value)`, `x_set_i(i, value)` write one, `x_given()` tells whether there is such an operand.
 * In the vector view, where buffers are vectors of four words, there are `x_v(i)` and `x_set_v(i, value)` besides, for i and operands on whole vectors,
 * and nothing else writes. `word(n)`, `float_word(n)` are words of the step, `piece_word(n)` of the piece header; positions there are two words, low
 * and high. A kernel defines `main`, annotated `@compute`.
 */
export interface Kernel {
  readonly name: string
  /** The step's word of each operand. */
  readonly operands: Readonly<Record<string, number>>
  readonly view: 'words' | 'vectors'
  readonly code: string
  /** For devices with the feature `subgroups`, where it differs: it gives the same bits. */
  readonly subgroupCode?: string
  workgroups(step: StepView): Workgroups
}

/** What an operand is in one pipeline: nothing, a word of the piece header, or the n-th storage buffer. */
export type Place = 'none' | 'header' | number

/** The header's words in WGSL, in vectors of four. */
const HEADER_VECTORS = Math.ceil(Piece.Length / 4)
/** Words of a step that a shader sees. */
export const STEP_VECTORS = 16

/** First binding of the storage buffers: before it are the piece header and the step. */
export const FIRST_BUFFER = 2

/**
 * @param readOnly of each storage buffer
 * @param subgroups whether the device has them
 */
export function writeShader(
  kernel: Kernel,
  places: Readonly<Record<string, Place>>,
  readOnly: readonly boolean[],
  subgroups: boolean,
): string {
  const subgroupCode = subgroups ? kernel.subgroupCode : undefined
  const element = kernel.view === 'vectors' ? 'vec4u' : 'u32'
  const buffers = readOnly.map(
    (only, i) => `@group(0) @binding(${FIRST_BUFFER + i}) var<storage, ${only ? 'read' : 'read_write'}> buffer${i}: array<${element}>;`,
  )
  const operands = Object.entries(kernel.operands).map(([name, at]) => {
    const place = places[name]!
    return accessors(name, at, place, kernel.view, typeof place === 'number' && !readOnly[place]!)
  })
  return `${subgroupCode ? 'enable subgroups;' : ''}
@group(0) @binding(0) var<uniform> piece_words: array<vec4i, ${HEADER_VECTORS}>;
@group(0) @binding(1) var<uniform> step_words: array<vec4i, ${STEP_VECTORS}>;
${buffers.join('\n')}

fn word(i: u32) -> i32 { return step_words[i / 4u][i % 4u]; }
fn float_word(i: u32) -> f32 { return bitcast<f32>(word(i)); }
fn piece_word(i: u32) -> i32 { return piece_words[i / 4u][i % 4u]; }
${operands.join('\n')}
${subgroupCode ?? kernel.code}`
}

function accessors(name: string, at: number, place: Place, view: Kernel['view'], writable: boolean): string {
  if (place === 'none') {
    return `
fn ${name}_given() -> bool { return false; }
fn ${name}_f(i: u32) -> f32 { return 0; }
fn ${name}_i(i: u32) -> i32 { return 0; }
fn ${name}_v(i: u32) -> vec4f { return vec4f(); }
fn ${name}_set_f(i: u32, value: f32) {}
fn ${name}_set_i(i: u32, value: i32) {}
fn ${name}_set_v(i: u32, value: vec4f) {}`
  }
  const offset = `u32(word(${at + 1})) / 4u`
  if (place === 'header') {
    return `
fn ${name}_given() -> bool { return true; }
fn ${name}_i(i: u32) -> i32 { return piece_word(${offset} + i); }`
  }
  const first = `u32(piece_word(${Piece.Buffers}u + u32(word(${at})))) + ${offset}`
  const buffer = `buffer${place}`
  const given = `
fn ${name}_given() -> bool { return true; }
fn ${name}_at() -> u32 { return ${first}; }`
  if (view === 'vectors') {
    return `${given}
fn ${name}_f(i: u32) -> f32 { let at = ${name}_at() + i; return bitcast<f32>(${buffer}[at / 4u][at % 4u]); }
fn ${name}_i(i: u32) -> i32 { let at = ${name}_at() + i; return bitcast<i32>(${buffer}[at / 4u][at % 4u]); }
fn ${name}_v(i: u32) -> vec4f { return bitcast<vec4f>(${buffer}[(${name}_at() + i) / 4u]); }
${writable ? `fn ${name}_set_v(i: u32, value: vec4f) { ${buffer}[(${name}_at() + i) / 4u] = bitcast<vec4u>(value); }` : ''}`
  }
  return `${given}
fn ${name}_f(i: u32) -> f32 { return bitcast<f32>(${buffer}[${name}_at() + i]); }
fn ${name}_i(i: u32) -> i32 { return bitcast<i32>(${buffer}[${name}_at() + i]); }
${
  writable
    ? `fn ${name}_set_f(i: u32, value: f32) { ${buffer}[${name}_at() + i] = bitcast<u32>(value); }
fn ${name}_set_i(i: u32, value: i32) { ${buffer}[${name}_at() + i] = bitcast<u32>(value); }`
    : ''
}`
}
