import { expect } from 'vitest'
import type { ModelFiles } from '../../src/io/model-files.js'
import { toFloat32 } from '../../src/io/safetensors.js'
import { float32Entry, writeSafetensors } from './write-safetensors.js'

const encode = (json: unknown) => new TextEncoder().encode(JSON.stringify(json))

/** A folder of files that look like a model: config, tokenizer, and the weights in one file. */
export function singleFileModel(): Map<string, Uint8Array> {
  return new Map([
    ['config.json', encode({ dim: 2 })],
    ['model.safetensors', writeSafetensors({ a: float32Entry([1, 2]), b: float32Entry([3]) })],
    ['tokenizer.json', encode({ some: 'tokenizer' })],
    ['README.md', encode('ignored')],
  ])
}

/** The same weights in two shards with an index. */
export function shardedModel(): Map<string, Uint8Array> {
  const files = singleFileModel()
  files.delete('model.safetensors')
  files.set(
    'model.safetensors.index.json',
    encode({ metadata: { total_size: 12 }, weight_map: { a: 'one.safetensors', b: 'two.safetensors' } }),
  )
  files.set('one.safetensors', writeSafetensors({ a: float32Entry([1, 2]) }))
  files.set('two.safetensors', writeSafetensors({ b: float32Entry([3]) }))
  return files
}

/** Fails unless what was read is that model, however it was stored. */
export function expectModel({ config, tensors, tokenizer }: ModelFiles): void {
  expect(config).toEqual({ dim: 2 })
  expect([...tensors].map(([name, tensor]) => [name, tensor.shape, [...toFloat32(tensor, name)]])).toEqual([
    ['a', [2], [1, 2]],
    ['b', [1], [3]],
  ])
  expect(JSON.parse(Buffer.from(tokenizer!).toString())).toEqual({ some: 'tokenizer' })
}
