/** What can be checked of shaders without a GPU: that their WGSL uses the words and operands of its op, and no others. */
import { describe, expect, test } from 'vitest'
import * as vocabulary from '../../assembly/ir/ops.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { WeightFormat } from '../../assembly/ir/values.js'
import { type Kernel, type OpView, writeShader } from '../../src/device/webgpu/kernel.js'
import { attentionForms } from '../../src/device/webgpu/kernels/attention/attention.js'
import { chooseEmbed } from '../../src/device/webgpu/kernels/elementwise.js'
import { productKernel } from '../../src/device/webgpu/kernels/matmul/product.js'
import { productShapes, type ProductShapeName } from '../../src/device/webgpu/kernels/matmul/product-shapes.js'
import { kernelsOf } from '../../src/device/webgpu/kernels/table.js'
import type { OpName } from '../../src/program/encode-op.js'
import { RESULTS } from '../../src/program/op-access.js'
import { FIELD_ORDER } from '../../src/program/op-fields.js'

const formats = [WeightFormat.Float32, WeightFormat.Float16, WeightFormat.Bfloat16]

function viewOf(opcode: OpName, words: Readonly<Record<number, number>> = {}): OpView {
  const view = new Int32Array(64)
  view[0] = opcode
  for (const [word, value] of Object.entries(words)) view[Number(word)] = value
  return { words: view, header: new Int32Array(64), rows: () => 1 }
}

/** Every kernel that may run an op. */
function everyKernel(opcode: OpName): readonly Kernel[] {
  const { Embed } = vocabulary
  if (opcode === Opcode.Attention) return attentionForms.map(({ kernel }) => kernel)
  if (opcode === Opcode.Matmul) {
    return (Object.keys(productShapes) as ProductShapeName[]).flatMap((shape) => formats.map((format) => productKernel(shape, format)))
  }
  if (opcode === Opcode.Embed) {
    return formats.flatMap((tokens) =>
      formats.map((positions) => chooseEmbed(viewOf(opcode, { [Embed.TokensFormat]: tokens, [Embed.PositionsFormat]: positions }))),
    )
  }
  return kernelsOf(viewOf(opcode))
}

/** What each word of an op holds: `@` an operand, `%` or `#` a float, nothing an integer. */
function kindsOf(opcode: OpName): Map<number, string> {
  const kinds = new Map<number, string>()
  let next = 2
  for (const field of FIELD_ORDER[opcode].split(' ')) {
    const kind = /\W?$/.exec(field)![0]
    kinds.set(next, kind)
    next += kind === '@' || kind === '#' ? 2 : 1
  }
  return kinds
}

/** Plans for a GPU have int8 weights as float32. */
const NOT_ON_GPU: readonly OpName[] = [Opcode.QuantizeRows, Opcode.QuantizedMatmul]
const opcodes = Array.from({ length: Opcode.Length - 1 }, (_, i) => (i + 1) as OpName).filter((opcode) => !NOT_ON_GPU.includes(opcode))
interface ShaderCase {
  readonly name: string
  readonly opcode: OpName
  readonly kernel: Kernel
  readonly code: string
}

const cases = opcodes.flatMap((opcode): ShaderCase[] =>
  everyKernel(opcode).flatMap((kernel) =>
    [kernel.code, kernel.subgroupCode ?? []]
      .flat()
      .map((code, i) => ({ name: `${kernel.name}${i ? ' with subgroups' : ''}`, opcode, kernel, code })),
  ),
)

/** WGSL's own functions, types and statements that a parenthesis may follow. */
const OWN = new Set(
  `if for while switch return vec2f vec3f vec4f vec2u vec3u vec4u vec2i vec3i vec4i u32 i32 f32 bool bitcast select array atomic
  min max clamp abs sqrt exp2 log2 fma floor round frexp ldexp countOneBits countLeadingZeros firstLeadingBit dot any all
  atomicAdd atomicLoad atomicStore atomicOr workgroupBarrier storageBarrier workgroupUniformLoad
  subgroupElect subgroupAdd subgroupMax subgroupMin subgroupExclusiveAdd subgroupBroadcastFirst subgroupBroadcast subgroupShuffle
  group binding builtin workgroup_size`.split(/\s+/),
)

function callsOf(code: string): Set<string> {
  const bare = code.replaceAll(/\/\*[^]*?\*\//g, '').replaceAll(/\/\/.*/g, '')
  return new Set(Array.from(bare.matchAll(/(?<!fn )\b([a-z]\w*)(?:<[\w<>, ]+>)?\(/g), ([, name]) => name!))
}

describe.each(cases)('the shader $name', ({ opcode, kernel, code }) => {
  const kinds = kindsOf(opcode)
  const words = (reader: string) => Array.from(code.matchAll(new RegExp(`\\b${reader}\\((\\d+)\\)`, 'g')), ([, word]) => Number(word))

  test('reads words that its op has, integers as integers and floats as floats', () => {
    for (const word of words('word')) expect(kinds.get(word), `${Opcode[opcode]}, word ${word}`).toBe('')
    for (const word of words('float_word')) expect(kinds.get(word), `${Opcode[opcode]}, float ${word}`).toMatch(/[%#]/)
    for (const word of Object.values(kernel.operands)) expect(kinds.get(word), `${Opcode[opcode]}, operand ${word}`).toBe('@')
  })

  test('uses each operand that it binds, and writes only results', () => {
    const results: readonly number[] = RESULTS[opcode]
    for (const [name, word] of Object.entries(kernel.operands)) {
      expect(code, name).toMatch(new RegExp(`\\b${name}_(f|i|v|pair|given|set_f|set_i|set_v)\\(`))
      expect(new RegExp(`\\b${name}_set_`).test(code), `${name} is written`).toBe(results.includes(word))
    }
  })

  test.each([false, true])('calls only functions that exist, if buffers are not split: %s', (whole) => {
    const names = Object.keys(kernel.operands)
    const bindings = {
      places: Object.fromEntries(names.map((name, i) => [name, i])),
      memories: names.map(() => ({ parts: whole ? 1 : 2, whole, writable: true })),
    }
    const shader = writeShader({ ...kernel, code }, bindings, { partBytes: 1 << 20, subgroups: false })
    const defined = new Set(Array.from(shader.matchAll(/\bfn (\w+)\(/g), ([, name]) => name!))
    expect([...callsOf(shader)].filter((name) => !defined.has(name) && !OWN.has(name))).toEqual([])
  })
})
