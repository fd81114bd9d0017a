import { DispatchHeader } from '../../../assembly/ops.js'

/** How many workgroups run an op, along each dimension. */
export type Workgroups = readonly [x: number, y?: number, z?: number]

/** One op of a program and the header of one dispatch, as the host sees them. */
export interface OpView {
  readonly words: Int32Array
  readonly header: Int32Array
  /** Most rows that the count at an operand can be: the header's word where it lies there, otherwise what bounds it. */
  rows(operand: number, limit?: DispatchHeader): number
}

/**
 * A compute shader that runs one kind of op: every value of it depends on operands and words alone, so one pipeline
 * serves all ops whose operands lie in the same buffers.
 *
 * Its WGSL sees storage buffers of 32-bit words through functions that are written for each operand `x`, indices in
 * words from the operand's start: `x_f(i)`, `x_i(i)` read a float or an integer, `x_set_f(i, value)`,
 * `x_set_i(i, value)` write one, `x_given()` tells whether there is such an operand. In the vector view, where buffers
 * are vectors of four words, there are `x_v(i)` and `x_set_v(i, value)` besides, for i and operands on whole vectors,
 * and nothing else writes; `x_pair(i)` reads two words, i even. `word(n)`, `float_word(n)` are words of the op,
 * `header_word(n)` of the dispatch header; positions there are two words, low and high. A kernel defines `main`,
 * annotated `@compute`.
 */
export interface Kernel {
  readonly name: string
  /** The op's word of each operand. */
  readonly operands: Readonly<Record<string, number>>
  readonly view: 'words' | 'vectors'
  readonly code: string
  /** For devices with the feature `subgroups`, where it differs: it gives the same bits. */
  readonly subgroupCode?: string
  workgroups(op: OpView): Workgroups
}

/** Where an operand is in one pipeline: nowhere, in the dispatch header, or in a buffer. */
export type Place = 'none' | 'header' | number

/** A buffer of one pipeline, or as many neighbouring parts of it as its operands may lie in. */
export interface Memory {
  readonly parts: number
  /** Whether they are all of the buffer. */
  readonly whole: boolean
  readonly writable: boolean
}

/** What a shader is written for besides its kernel. */
export interface Binding {
  /** Of each operand; numbers are indices of `memories`. */
  readonly places: Readonly<Record<string, Place>>
  readonly memories: readonly Memory[]
}

/** The header's words in WGSL, in vectors of four. */
const HEADER_VECTORS = Math.ceil(DispatchHeader.Length / 4)
/** Bytes of the header as a uniform. */
export const HEADER_BYTES = HEADER_VECTORS * 16
/** Words of an op that a shader sees. */
export const OP_VECTORS = 16

/** First binding of the storage buffers: before it are the dispatch header and the op. */
export const FIRST_BUFFER = 2

/** What a device's shaders may rely on. */
export interface ShaderTarget {
  /** Bytes of each part of a memory but the last, a power of two. */
  readonly partBytes: number
  readonly subgroups: boolean
}

export function writeShader(kernel: Kernel, { places, memories }: Binding, { partBytes, subgroups }: ShaderTarget): string {
  const subgroupCode = subgroups ? kernel.subgroupCode : undefined
  const element = kernel.view === 'vectors' ? 'vec4u' : 'u32'
  const buffers = memories.flatMap(({ parts, writable }, memory) =>
    Array.from(
      { length: parts },
      (_, part) => `var<storage, ${writable ? 'read_write' : 'read'}> ${partName(memory, part)}: array<${element}>;`,
    ),
  )
  const operands = Object.entries(kernel.operands).map(([name, at]) => accessors(name, at, places[name]!, memories, kernel.view))
  return `${subgroupCode ? 'enable subgroups;' : ''}
@group(0) @binding(0) var<uniform> header_words: array<vec4i, ${HEADER_VECTORS}>;
@group(0) @binding(1) var<uniform> op_words: array<vec4i, ${OP_VECTORS}>;
${buffers.map((declaration, i) => `@group(0) @binding(${FIRST_BUFFER + i}) ${declaration}`).join('\n')}

fn word(i: u32) -> i32 { return op_words[i / 4u][i % 4u]; }
fn float_word(i: u32) -> f32 { return bitcast<f32>(word(i)); }
fn header_word(i: u32) -> i32 { return header_words[i / 4u][i % 4u]; }
${memories.map((memory, index) => access(index, memory, operandsIn(index, places), element, partBytes)).join('\n')}
${operands.join('\n')}
${subgroupCode ?? kernel.code}`
}

function operandsIn(memory: number, places: Readonly<Record<string, Place>>): string[] {
  return Object.keys(places).filter((name) => places[name] === memory)
}

function partName(memory: number, part: number): string {
  return `memory${memory}_${part}`
}

/**
 * `load<m>(at)` and `store<m>(at, value)` of the element that word `at` of a memory lies in. The first part bound is
 * the one that the first of the operands begins in, so they find theirs without being told.
 */
function access(
  memory: number,
  { parts, whole, writable }: Memory,
  operands: readonly string[],
  element: string,
  partBytes: number,
): string {
  const index = (at: string) => (element === 'u32' ? at : `(${at}) / 4u`)
  if (parts === 1 && whole) {
    return `
fn load${memory}(at: u32) -> ${element} { return ${partName(memory, 0)}[${index('at')}]; }
${writable ? `fn store${memory}(at: u32, value: ${element}) { ${partName(memory, 0)}[${index('at')}] = value; }` : ''}`
  }
  const words = partBytes / 4
  const first = operands.map((name) => `${name}_at()`).reduce((least, next) => `min(${least}, ${next})`)
  const each = (statement: (part: string) => string) =>
    Array.from({ length: parts }, (_, part) => `case ${part}u: { ${statement(partName(memory, part))} }`).join('\n')
  return `
fn part${memory}(at: u32) -> u32 { return at / ${words}u - ${first} / ${words}u; }
fn load${memory}(at: u32) -> ${element} {
  let i = ${index(`at % ${words}u`)};
  switch part${memory}(at) {
    ${each((part) => `return ${part}[i];`)}
    default: { return ${element}(); }
  }
}
${
  writable
    ? `fn store${memory}(at: u32, value: ${element}) {
  let i = ${index(`at % ${words}u`)};
  switch part${memory}(at) {
    ${each((part) => `${part}[i] = value;`)}
    default: { }
  }
}`
    : ''
}`
}

function accessors(name: string, at: number, place: Place, memories: readonly Memory[], view: Kernel['view']): string {
  if (place === 'none') {
    return `
fn ${name}_given() -> bool { return false; }
fn ${name}_f(i: u32) -> f32 { return 0; }
fn ${name}_i(i: u32) -> i32 { return 0; }
fn ${name}_v(i: u32) -> vec4f { return vec4f(); }
fn ${name}_pair(i: u32) -> vec2u { return vec2u(); }
fn ${name}_set_f(i: u32, value: f32) {}
fn ${name}_set_i(i: u32, value: i32) {}
fn ${name}_set_v(i: u32, value: vec4f) {}`
  }
  const offset = `u32(word(${at + 1})) / 4u`
  if (place === 'header') {
    return `
fn ${name}_given() -> bool { return true; }
fn ${name}_i(i: u32) -> i32 { return header_word(${offset} + i); }`
  }
  const { writable } = memories[place]!
  const given = `
fn ${name}_given() -> bool { return true; }
fn ${name}_at() -> u32 { return u32(header_word(${DispatchHeader.Buffers}u + u32(word(${at})))) + ${offset}; }`
  if (view === 'vectors') {
    return `${given}
fn ${name}_f(i: u32) -> f32 { let at = ${name}_at() + i; return bitcast<f32>(load${place}(at)[at % 4u]); }
fn ${name}_i(i: u32) -> i32 { let at = ${name}_at() + i; return bitcast<i32>(load${place}(at)[at % 4u]); }
fn ${name}_v(i: u32) -> vec4f { return bitcast<vec4f>(load${place}(${name}_at() + i)); }
fn ${name}_pair(i: u32) -> vec2u { let at = ${name}_at() + i; let four = load${place}(at); return select(four.xy, four.zw, at % 4u == 2u); }
${writable ? `fn ${name}_set_v(i: u32, value: vec4f) { store${place}(${name}_at() + i, bitcast<vec4u>(value)); }` : ''}`
  }
  return `${given}
fn ${name}_f(i: u32) -> f32 { return bitcast<f32>(load${place}(${name}_at() + i)); }
fn ${name}_i(i: u32) -> i32 { return bitcast<i32>(load${place}(${name}_at() + i)); }
${
  writable
    ? `fn ${name}_set_f(i: u32, value: f32) { store${place}(${name}_at() + i, bitcast<u32>(value)); }
fn ${name}_set_i(i: u32, value: i32) { store${place}(${name}_at() + i, bitcast<u32>(value)); }`
    : ''
}`
}
