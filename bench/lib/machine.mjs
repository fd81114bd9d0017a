import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import os from 'node:os'
import { nodeBinary, versionOf } from './paths.mjs'

let description

/** The processor, the system and the engine that all figures come from. */
export function machine() {
  if (description) return description
  const cores = os.cpus()
  const versions = JSON.parse(execFileSync(nodeBinary(), ['-p', 'JSON.stringify(process.versions)'], { encoding: 'utf8' }))
  description = {
    processor: `${cores[0]?.model.trim() ?? 'unknown processor'}${generation()}, ${cores.length} ${cores.length === 1 ? 'core' : 'cores'}`,
    memory: `${Math.round(os.totalmem() / 2 ** 30)} GiB`,
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: versions.node,
    v8: versions.v8,
  }
  return description
}

/** Family and model where Linux knows them: virtual machines often hide the product's name. */
function generation() {
  const file = '/proc/cpuinfo'
  const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
  const [family, model] = ['cpu family', 'model'].map((name) => new RegExp(`^${name}\\s*: (\\d+)$`, 'm').exec(text)?.[1])
  return family && model ? ` (family ${family}, model ${model})` : ''
}

/** A line below a table that names the machine, without which figures mean nothing. */
export function caption(baselines = []) {
  const { processor, node, v8 } = machine()
  const versions = baselines.map((name) => `${name} ${versionOf(name) ?? 'absent'}`)
  return `${[processor, `Node ${node} (V8 ${v8.split('.').slice(0, 2).join('.')})`, ...versions].join('; ')}; ${new Date().toISOString().slice(0, 10)}.`
}
