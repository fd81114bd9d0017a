import { DispatchHeader } from '../../../assembly/ir/header.js'
import type { OpName } from '../../program/encode-op.js'
import type { OperandWords } from '../../program/op-access.js'

/** Number of workgroups along each dimension. */
export type Workgroups = readonly [x: number, y?: number, z?: number]

/** One op of a program and the header of one dispatch, as seen by the host. */
export interface OpView {
  readonly words: Int32Array
  readonly header: Int32Array
  /** Upper bound of the count at an operand: the header's word if it is there, otherwise that of the op's limit. */
  rows(operand: number): number
}

/**
 * A compute shader for one kind of op. Everything op-specific is read from operands and words, so one pipeline serves
 * all ops whose operands are in the same buffers.
 * Its WGSL accesses storage buffers of 32-bit words through functions generated for each operand `x`, with indices in
 * words from the operand's start: `x_f(i)` and `x_i(i)` read a float or an integer, `x_set_f(i, value)` and `x_set_i(i,
 * value)` write one, and `x_given()` tells whether the operand is present. In the vector view, where buffers are
 * vectors of four words, there are also `x_v(i)` and `x_set_v(i, value)`, for operands and i that are multiples of
 * four, and only these write; `x_pair(i)` reads two words, i even. `word(n)` and `float_word(n)` are words of the op,
 * `header_word(n)` of the dispatch header, in which positions take two words, low and high. A kernel defines `main`,
 * annotated `@compute`.
 */
export interface Kernel<O extends OpName = OpName> {
  readonly name: string
  /** The op word of each operand. */
  readonly operands: Readonly<Record<string, OperandWords[O]>>
  readonly view: 'words' | 'vectors'
  readonly code: string
  /** A bit-identical variant for devices with the feature `subgroups`. */
  readonly subgroupCode?: string
  workgroups(op: OpView): Workgroups
}

/** Location of an operand in one pipeline: absent, in the dispatch header, or in a buffer. */
export type OperandLocation = 'none' | 'header' | number

/** A buffer of one pipeline, or the neighbouring parts of it that its operands may be in. */
export interface Memory {
  readonly parts: number
  /** Whether these are all parts of the buffer. */
  readonly whole: boolean
  readonly writable: boolean
}

/** What a shader is specialised for, besides its kernel. */
export interface ShaderBindings {
  /** Location of each operand; numbers are indices into `memories`. */
  readonly places: Readonly<Record<string, OperandLocation>>
  readonly memories: readonly Memory[]
}

/** The header in WGSL, as vectors of four words. */
const HEADER_VECTORS = Math.ceil(DispatchHeader.Length / 4)
/** Size of the header as a uniform, in bytes. */
export const HEADER_BYTES = HEADER_VECTORS * 16
/** Words of an op visible to a shader. */
export const OP_VECTORS = 16

/** First binding of the storage buffers, after the dispatch header and the op. */
export const FIRST_BUFFER = 2

/** What a device's shaders may rely on. */
export interface ShaderTarget {
  /** Size in bytes of each part of a memory except the last; a power of two. */
  readonly partBytes: number
  readonly subgroups: boolean
}

export function writeShader(kernel: Kernel, { places, memories }: ShaderBindings, { partBytes, subgroups }: ShaderTarget): string {
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

function operandsIn(memory: number, places: Readonly<Record<string, OperandLocation>>): string[] {
  return Object.keys(places).filter((name) => places[name] === memory)
}

function partName(memory: number, part: number): string {
  return `memory${memory}_${part}`
}

/**
 * `load<m>(at)` and `store<m>(at, value)` access the element that contains word `at` of a memory. The first part bound
 * is the one in which the first operand begins, so shaders can find their parts without further information.
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

function accessors(name: string, at: number, place: OperandLocation, memories: readonly Memory[], view: Kernel['view']): string {
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
