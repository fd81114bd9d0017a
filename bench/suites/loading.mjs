import { createReadStream, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { caption } from '../lib/machine.mjs'
import { model as shipped, packageEntry } from '../lib/paths.mjs'
import { randomModel } from '../lib/random-model.mjs'
import { Runner } from '../lib/runner.mjs'
import { median, mebibytes, significant } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'Memory while loading'

const large = { dim: 1024, depth: 14, heads: 16 }

export async function run({ quick, note }) {
  if (process.platform !== 'linux') return void note('resident memory is measured on Linux only')
  const temporary = mkdtempSync(join(tmpdir(), 'loading-'))
  const server = await serveFolder(temporary)
  try {
    const rows = []
    for (const [name, folder] of await writeModels(temporary)) {
      const bytes = weightsIn(folder)
      const url = folder.startsWith(temporary) && `${server.url}/${folder.slice(temporary.length + 1)}`
      const sources = [['folder', { folder }], ...(url ? [['HTTP', { url }], ['HTTP, into a cache', { url, isCached: true }]] : [])] // prettier-ignore
      for (const [source, { isCached, ...where }] of sources) {
        const loads = []
        for (let round = 0; round < (quick ? 1 : 3); round++) {
          const cache = isCached && mkdtempSync(join(temporary, 'cache-'))
          const runner = new Runner(name, 'ours-loading', { flags: ['--no-warnings', '--expose-gc'] })
          try {
            const before = await runner.call('open')
            const { after, peak, ...rest } = await runner.call('load', { ...where, ...(cache && { cache }) })
            loads.push({ ...rest, after: after - before, peak: peak - before })
          } finally {
            await runner.close()
            if (cache) rmSync(cache, { recursive: true })
          }
        }
        const of = (key) => median(loads.map((load) => load[key]))
        const over = (key) => significant(of(key) / bytes)
        rows.push([`${name}, ${significant(loads[0].numParameters / 1e6)} million`, source, mebibytes(bytes), over('packed'), over('after'), over('peak'), significant(of('seconds'))]) // prettier-ignore
      }
    }
    return [
      'Weights at random. Resident memory of a fresh process, minus that of the process when it had a runtime and nothing else, over the size of the file: once the model is loaded, and at its peak until then. "Packed": the runtime’s memory in use, over the same.',
      table(['model', 'from', 'file', 'packed', 'loaded', 'peak', 'seconds'], rows),
      caption(),
    ].join('\n\n')
  } finally {
    server.close()
    rmSync(temporary, { recursive: true })
  }
}

/** Writes the models to folders of their own; the shipped one is there. */
async function writeModels(temporary) {
  const { quantizeModel } = await import(packageEntry)
  const write = (name, files) => {
    const folder = join(temporary, name)
    mkdirSync(folder)
    for (const [file, bytes] of files) writeFileSync(join(folder, file), bytes)
    return folder
  }
  const halves = await randomModel(large, 'BF16')
  return [
    ['as shipped', shipped],
    ['bfloat16', write('bfloat16', halves)],
    ['int8', write('int8', await quantizeModel(halves))],
  ]
}

function weightsIn(folder) {
  const names = readdirSync(folder).filter((name) => /^model.*\.safetensors$/.test(name))
  return names.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
}

async function serveFolder(folder) {
  const server = createServer(({ url }, response) => {
    const path = join(folder, decodeURIComponent(new URL(url, 'http://localhost').pathname))
    const size = statSync(path, { throwIfNoEntry: false })?.size
    if (size === undefined) return void response.writeHead(404).end()
    response.writeHead(200, { 'content-length': size })
    createReadStream(path).pipe(response)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() }
}
