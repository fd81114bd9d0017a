/*
 * Writes what follows from the schema of the ops (`op-schema.mjs`), and the unrolled micro-kernels: AssemblyScript
 * unrolls no loop and cannot pass vectors by reference (docs/kernel-pitfalls.md#no-unrolling).
 *
 *   node assembly/generate/generate.mjs            writes them
 *   node assembly/generate/generate.mjs --check    fails when what stands differs from what it would write
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { format, resolveConfig } from 'prettier'
import { opSources } from './ops.mjs'
import { tilesSource } from './tiles.mjs'

async function formatted(name, source) {
  const filepath = fileURLToPath(new URL(name, import.meta.url))
  return format(source, { ...(await resolveConfig(filepath)), filepath })
}

const outputs = { '../kernels/tiles.ts': tilesSource(), ...(await opSources(formatted)) }

let stale = 0
for (const [name, source] of Object.entries(outputs)) {
  const url = new URL(name, import.meta.url)
  if (!process.argv.includes('--check')) {
    writeFileSync(url, source)
    continue
  }
  let current
  try {
    current = readFileSync(url, 'utf8')
  } catch {
    current = undefined
  }
  if (current !== source) {
    console.error(`${fileURLToPath(url)} is not what the generator writes: run npm run generate`)
    stale++
  }
}
process.exitCode = stale > 0 ? 1 : 0
