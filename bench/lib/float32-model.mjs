import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { built, model, packageEntry } from './paths.mjs'

/** A folder with models/novels-10m in float32: the values that its float16 weights have. Written once. */
export async function float32Model() {
  const folder = built('novels-10m-float32')
  if (existsSync(folder)) return folder
  const { readSafetensors } = await import(packageEntry)
  const partial = `${folder}.${process.pid}`
  mkdirSync(partial)
  for (const name of ['config.json', 'tokenizer.json']) copyFileSync(`${model}/${name}`, `${partial}/${name}`)
  const header = {}
  const parts = []
  let offset = 0
  for (const shard of readdirSync(model).filter((name) => /^model-.*[.]safetensors$/.test(name))) {
    for (const [name, { data, shape }] of readSafetensors(readFileSync(`${model}/${shard}`))) {
      header[name] = { dtype: 'F32', shape, data_offsets: [offset, (offset += data.byteLength)] }
      parts.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength))
    }
  }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  writeFileSync(`${partial}/model.safetensors`, Buffer.concat([length, json, ...parts]))
  try {
    renameSync(partial, folder)
  } catch (error) {
    if (!existsSync(folder)) throw error // another process was faster
  }
  return folder
}
