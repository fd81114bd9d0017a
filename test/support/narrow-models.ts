/** Models whose parameters are 16-bit floats, and the same values in float32. */
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { bitsOf, floatOf, fromHalf, toHalf } from './halves.js'
import { smallModel } from './small-models.js'
import { type Entry, writeSafetensors } from './write-safetensors.js'

export const formats = {
  F16: { toBits: toHalf, toValue: fromHalf },
  BF16: { toBits: (value: number) => bitsOf(value) >>> 16, toValue: (bits: number) => floatOf(bits << 16) },
}
export type Dtype = keyof typeof formats

/** A model's files with every value rounded to 16 bits, stored as these or as the float32 of the same value. */
export function narrowModelFiles(
  config: Record<string, unknown>,
  dtype: Dtype,
  stored: 'narrow' | 'wide',
  change: (bits: Map<string, Uint16Array>) => void = () => undefined,
) {
  const { toBits, toValue } = formats[dtype]
  const { parameters } = smallModel(config)
  const bits = new Map([...parameters].map(([name, { data }]) => [name, Uint16Array.from(data, toBits)]))
  change(bits)
  const entries: Record<string, Entry> = {}
  for (const [name, { shape }] of parameters) {
    const halves = bits.get(name)!
    const values = stored === 'narrow' ? halves : Float32Array.from(halves, toValue)
    entries[name] = { dtype: stored === 'narrow' ? dtype : 'F32', shape: [...shape], bytes: new Uint8Array(values.buffer) }
  }
  return new Map([
    ['config.json', new TextEncoder().encode(JSON.stringify(config))],
    ['model.safetensors', writeSafetensors(entries)],
  ])
}

/**
 * A model's logits over some tokens, of a forward and after the last of single appends, and the memory that it takes.
 */
export async function logitsOf(
  runtime: Runtime,
  files: Map<string, Uint8Array>,
  ids: number[],
): Promise<{ all: Float32Array; bytes: number; last: Float32Array }> {
  const before = runtime.info.memory.used
  const model = await LanguageModel.load(files, { runtime })
  try {
    const bytes = runtime.info.memory.used - before
    const { data: all } = await model.forward(ids)
    const session = model.createSession()
    for (const id of ids.slice(0, -1)) await session.append([id])
    return { all, bytes, last: await session.append(ids.slice(-1)) }
  } finally {
    model.dispose()
  }
}
