/*
 * Measures the figures of docs/benchmarks.md.
 *
 *   npm run bench [-- --quick] [--only layer,decode] [--write]
 */
import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { buildCeilings, buildInternals } from './lib/build.mjs'
import { writeSections } from './lib/documents.mjs'
import { machine } from './lib/machine.mjs'
import { nodeBinary } from './lib/paths.mjs'

const suites = [
  'layer',
  'products',
  'row',
  'tokens',
  'constant-memory',
  'batch',
  'server',
  'model',
  'million',
  'interrupt',
  'loading',
  'start',
  'browser',
  'webgpu',
]

const usage = `usage: npm run bench -- [--quick] [--only SUITES] [--write]
  --quick   fewer rounds and sizes, and neither browser nor GPU unless --only names it: within two minutes, and rougher
  --only    of ${suites.join(', ')}, separated by commas
  --write   also puts the tables into docs/benchmarks.md, and into README.md what it quotes of them`

let options
try {
  options = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      write: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  }).values
} catch (error) {
  fail(`${error.message}\n${usage}`)
}
if (options.help) {
  console.log(usage)
  process.exit(0)
}
const chosen = options.only?.split(',') ?? (options.quick ? suites.filter((name) => name !== 'browser' && name !== 'webgpu') : suites)
const unknown = chosen.filter((name) => !suites.includes(name))
if (unknown.length > 0) fail(`there is no suite ${unknown.join(', ')}\n${usage}`)
if (options.quick && options.write) fail('docs/benchmarks.md takes figures of a full run only: leave out --quick or --write')

const { processor, memory, system, node, v8 } = machine()
// What is measured in this process is measured on that Node, too.
if (node !== process.versions.node) process.exit(spawnSync(nodeBinary(), process.argv.slice(1), { stdio: 'inherit' }).status ?? 1)
console.log(`${processor}, ${memory}; ${system}; Node ${node}, V8 ${v8}\n`)

await buildInternals()
await buildCeilings()

const sections = new Map()
const started = performance.now()
for (const name of suites.filter((suite) => chosen.includes(suite))) {
  const { title, run } = await import(`./suites/${name}.mjs`)
  const notes = new Set()
  const start = performance.now()
  const text = await run({ quick: options.quick, note: (line) => notes.add(line) })
  const section = [`## ${title}`, text, ...[...notes].map((line) => `${line}.`)].filter(Boolean).join('\n\n')
  if (text !== undefined) sections.set(name, section)
  console.log(section)
  console.log(`\n[${name}: ${((performance.now() - start) / 1000).toFixed(0)} s]\n`)
}
console.log(`[all: ${((performance.now() - started) / 1000).toFixed(0)} s]`)
if (options.write) console.log(writeSections(sections))
process.exit(0)

function fail(message) {
  console.error(message)
  process.exit(1)
}
