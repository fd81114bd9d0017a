import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { build, installTools, model, node, project, tool } from '../lib/paths.mjs'
import { start } from '../lib/processes.mjs'
import { posted, serve } from '../lib/server.mjs'

const noRelaxed = { simd: 'baseline', threads: 2, unavailable: { relaxed: 'Node has it from version 22' } }
const all = { simd: 'relaxed', threads: 2, unavailable: {} }

/** The server runtimes: one script in each. */
export const processes = [
  ...[20, 22, 24, 26].map((version) => host(`node-${version}`, `Node ${version}`, node(version), [], version === 20 ? noRelaxed : all)),
  host('deno', 'Deno', tool(`@deno/linux-x64-glibc/deno`), ['run', '-A'], all),
  host('bun', 'Bun', tool('@oven/bun-linux-x64/bin/bun'), ['run'], all),
]

/**
 * @param {string} id
 * @param {string} name
 * @param {string | undefined} binary
 * @param {string[]} command
 * @param {object} expected
 */
function host(id, name, binary, command, expected) {
  return {
    id,
    name,
    missing: binary ? undefined : installTools,
    run: () =>
      runProcess(/** @type {string} */ (binary), [...command, 'hosts/process.mjs'], {
        id,
        folder: model,
        expected,
        sqlite: { files: join(build, id), isThere: id !== 'node-20' },
      }),
  }
}

/**
 * Runs a script that posts what it found.
 * @param {string} binary @param {string[]} command @param {{ id: string, sqlite?: object }} config @param {Record<string, string>} [env]
 */
export async function runProcess(binary, command, config, env = {}) {
  const version = spawnSync(binary, ['--version'], { encoding: 'utf8' }).stdout.trim().split('\n')[0]
  const { origin, close } = await serve(project)
  const results = posted(config.id)
  const child = start(binary, [...command, JSON.stringify({ ...config, data: origin })], {
    cwd: project,
    env: { ...process.env, ...env },
  })
  const died = child.ended.then(() => ({
    results: [{ name: 'runs to its end', error: `it ${child.ending()}:\n${child.output().slice(-4000)}` }],
  }))
  const outcome = await Promise.race([results, died])
  await child.end()
  close()
  return { version: version?.replace(/^v|^deno | \(.*/g, ''), results: outcome.results }
}
