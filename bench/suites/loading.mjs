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
    for (const { name, folder, url } of await writeModels(temporary, server.url)) {
      const bytes = weightsIn(folder)
      const measures = {
        'a folder': (runner) => runner.call('load', { folder }),
        HTTP: url && ((runner) => runner.call('load', { url })),
        'HTTP, into a cache': url && ((runner) => runner.call('load', { url, cache: mkdtempSync(join(temporary, 'cache-')) })),
        'HTTP, read only': url && ((runner) => runner.call('fetch', `${url}/model.safetensors`)),
      }
      for (const [source, measure] of Object.entries(measures)) {
        if (!measure) continue
        const rounds = []
        for (let round = 0; round < (quick ? 1 : 3); round++) rounds.push(await inFreshProcess(name, measure))
        const over = (key) => significant(median(rounds.map((figures) => figures[key])) / bytes)
        rows.push([name, source, mebibytes(bytes), ...['packed', 'after', 'peak'].map(over), significant(median(rounds.map(({ seconds }) => seconds)))]) // prettier-ignore
      }
    }
    return [
      'A model of 302 million parameters with weights at random, and the shipped one. Resident memory of a fresh process, minus that of the process when it had a runtime and nothing else, over the size of the weights’ file: once the model is loaded, and the most until then. "Packed" is the runtime’s memory in use. "Read only": the file is fetched from the same server, and let go of as it arrives; what that leaves behind, loading over HTTP cannot avoid.',
      table(['model', 'from', 'file', 'packed', 'loaded', 'peak', 'seconds'], rows),
      caption(),
    ].join('\n\n')
  } finally {
    server.close()
    rmSync(temporary, { recursive: true })
  }
}

async function inFreshProcess(name, measure) {
  const runner = new Runner(name, 'ours-loading', { flags: ['--no-warnings', '--expose-gc'] })
  try {
    const before = await runner.call('open')
    const { after, peak, ...rest } = await measure(runner)
    return { ...rest, after: after - before, peak: peak - before }
  } finally {
    await runner.close()
  }
}

/** Writes the models to folders of their own, which are served; the shipped one is there. */
async function writeModels(temporary, url) {
  const { quantizeModel } = await import(packageEntry)
  const write = (name, files) => {
    const folder = join(temporary, name)
    mkdirSync(folder)
    for (const [file, bytes] of files) writeFileSync(join(folder, file), bytes)
    return { name, folder, url: `${url}/${name}` }
  }
  const halves = await randomModel(large, 'BF16')
  return [{ name: 'as shipped, float16', folder: shipped }, write('bfloat16', halves), write('int8', await quantizeModel(halves))]
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
