/*
 * Compiles assembly/ for every target of asconfig.json into build/, and writes the release builds as a module that src/
 * imports. Does nothing if the inputs have not changed.
 *
 *   node scripts/build-wasm.mjs [--force]
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { deflateRawSync } from 'node:zlib'

const root = fileURLToPath(new URL('..', import.meta.url))
process.chdir(root)

/** The builds in the package; the checked ones are for tests and stay in build/. */
const released = ['baseline', 'relaxed']
const modulesFile = 'src/device/wasm/modules.generated.ts'
const stampFile = 'build/inputs.sha256'

/** @type {Record<string, { outFile: string, textFile: string }>} */
const targets = JSON.parse(readFileSync('asconfig.json', 'utf8')).targets

const inputs = inputsHash()
const outputs = [...Object.values(targets).flatMap(({ outFile, textFile }) => [outFile, textFile]), modulesFile]
const current = existsSync(stampFile) && readFileSync(stampFile, 'utf8') === inputs && outputs.every((file) => existsSync(file))
if (!current || process.argv.includes('--force')) await build()

async function build() {
  rmSync(stampFile, { force: true })
  // in-process, so that only the first target pays for the compiler's start: 2.2 s, then 0.6 s each; a process takes 4 s
  const { default: asc } = await import('assemblyscript/asc')
  for (const target of Object.keys(targets)) {
    const messages = asc.createMemoryStream()
    const { error } = await asc.main(
      // AS112 warns that JavaScript cannot pass v128: these functions are exported to other files, not to JavaScript.
      ['--config', 'asconfig.json', '--target', target, '--disableWarning', '112'],
      { stderr: messages, writeFile: (name, contents) => writeWhole(name, contents) },
    )
    const text = messages.toString()
    if (text) process.stderr.write(text)
    if (error) {
      console.error(`build-wasm: ${target} does not compile`)
      process.exit(1)
    }
  }
  writeWhole(modulesFile, bundled(released.map((name) => readFileSync(`build/${name}.wasm`))))
  writeWhole(stampFile, inputs)
}

/**
 * The release builds as a module: deflated together and in base64. They differ in a few instructions, so they are
 * interleaved block by block, which brings what they share within reach of deflate's window: 62 kB instead of 97.
 * @param {Buffer[]} builds
 */
function bundled(builds) {
  const blockBytes = 4096
  const blocks = []
  for (let at = 0; builds.some(({ length }) => at < length); at += blockBytes) {
    for (const bytes of builds) blocks.push(bytes.subarray(at, at + blockBytes))
  }
  const deflated = deflateRawSync(Buffer.concat(blocks), { level: 9, memLevel: 9 }).toString('base64')
  const byteLengths = released.map((name, i) => `${name}: ${builds[i]?.length}`).join(', ')
  return `// Written by scripts/build-wasm.mjs: the release builds of assembly/, interleaved, deflated, in base64.
export const builds = {
  byteLengths: { ${byteLengths} },
  blockBytes: ${blockBytes},
  deflated: '${deflated}',
} as const
`
}

function inputsHash() {
  const hash = createHash('sha256')
  const sources = readdirSync('assembly', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .sort()
    .map((name) => join('assembly', name))
  for (const name of ['asconfig.json', 'scripts/build-wasm.mjs', 'node_modules/assemblyscript/package.json', ...sources]) {
    hash.update(`${name}\0`).update(readFileSync(name)).update('\0')
  }
  return hash.digest('hex')
}

/**
 * Writes a file atomically: concurrent readers see either the old or the new one.
 * @param {string} name
 * @param {string | Uint8Array} contents
 */
function writeWhole(name, contents) {
  mkdirSync(dirname(name), { recursive: true })
  const partial = `${name}.${process.pid}.partial`
  writeFileSync(partial, contents)
  renameSync(partial, name)
}
