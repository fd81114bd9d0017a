import { readFileSync } from 'node:fs'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import type { ModelCase } from './golden.js'
import { floatValues, readSafetensors } from './safetensors.js'
import { float32Entry, writeSafetensors } from './write-safetensors.js'

/** A small golden model's files, as `LanguageModel.load` takes them. */
export function modelFiles(golden: ModelCase): Map<string, Uint8Array> {
  const entries = [...golden.parameters].map(([name, { data, shape }]) => [name, float32Entry(Array.from(data), [...shape])] as const)
  return new Map([
    ['config.json', new TextEncoder().encode(JSON.stringify(golden.config))],
    ['model.safetensors', writeSafetensors(Object.fromEntries(entries))],
  ])
}

export const novelsFolder = new URL('../../models/novels-10m/', import.meta.url)

/** novels-10m-v2, some blocks of which have local attention alone. */
export const novels2Folder = new URL('../../models/novels-10m-v2/', import.meta.url)

/** Its 8-bit form, which the build makes and the examples load. */
export const novels2Int8Folder = new URL('../../models/novels-10m-v2-int8/', import.meta.url)

export function loadNovels(runtime: Runtime): Promise<LanguageModel> {
  return LanguageModel.load(novelsFolder, { runtime })
}

/** A shipped model's golden values. */
export function novelsGolden(folder = novelsFolder) {
  const tensors = readSafetensors(readFileSync(new URL('golden.safetensors', folder)))
  const ids = (name: string) => Array.from(tensors.get(name)!.data as Int32Array)
  return {
    inputIds: ids('input_ids'),
    promptIds: ids('prompt_ids'),
    greedyIds: ids('greedy_ids'),
    bits: floatValues(tensors.get('bits')!),
    logits: floatValues(tensors.get('logits')!),
  }
}

/** Token ids of the book, encoded in pieces of 50,000 characters, as its golden figures were made. */
export function treasureIsland(model: LanguageModel): number[] {
  const text = readFileSync(new URL('treasure-island.txt', novelsFolder), 'utf8')
  const ids: number[] = []
  for (let start = 0; start < text.length; start += 50_000) ids.push(...model.tokenizer.encode(text.slice(start, start + 50_000)))
  return ids
}
