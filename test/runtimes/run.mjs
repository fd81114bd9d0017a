/*
 * Runs one suite, from the packed tarballs in an empty project, in every runtime and through every bundler that is
 * installed.
 *
 *   node test/runtimes/run.mjs [--only id,id] [--require id,id]
 *
 * An id stands for all that begin with it: `chromium` for `chromium-worker` too.
 * A runtime that is missing is named, with how to install it; one that is required and missing is a failure.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { build, golden, model, project, sessions } from './lib/paths.mjs'
import { execute } from './lib/processes.mjs'
import { makeProject } from './lib/project.mjs'
import { browsers } from './runners/browsers.mjs'
import { bundled } from './runners/bundlers.mjs'
import { documents } from './runners/documents.mjs'
import { edges } from './runners/edge.mjs'
import { moves } from './runners/moves.mjs'
import { packages } from './runners/package.mjs'
import { pageBenches } from './runners/page-bench.mjs'
import { pages } from './runners/page.mjs'
import { processes } from './runners/processes.mjs'
import { quickstart } from './runners/quickstart.mjs'
import { soak } from './runners/soak.mjs'
import { webgpu } from './runners/webgpu.mjs'

const { values } = parseArgs({ options: { only: { type: 'string' }, require: { type: 'string' } } })
const only = values.only?.split(',')
const required = values.require?.split(',') ?? []

/**
 * @typedef {{ id: string, name: string, missing: string | undefined, run: () => Promise<{ version?: string, results: {
 * name: string, error?: string }[] }> }} Host
 */
/** @type {Host[]} */
const known = [
  ...[...packages, ...quickstart, ...processes, ...moves, ...soak, ...edges],
  ...[...browsers, ...bundled, ...webgpu, ...pages, ...pageBenches, ...documents],
]
const matches = (/** @type {string[]} */ names, /** @type {Host} */ { id }) =>
  names.some((name) => id === name || id.startsWith(`${name}-`))
for (const name of [...(only ?? []), ...required]) {
  if (!known.some((host) => matches([name], host)))
    throw new Error(`no runtime is called ${name}; there are ${known.map(({ id }) => id).join(', ')}`)
}
const hosts = known.filter((host) => !only || matches(only, host))

console.log('packing, and installing the tarballs in an empty project')
await makeProject()

/** @type {{ host: Host, version: string, seconds: number, results: { name: string, error?: string }[] }[]} */
const ran = []
for (const host of hosts.filter(({ missing }) => !missing)) {
  const begin = performance.now()
  const { version = '', results } = await host
    .run()
    .catch((error) => ({ version: '', results: [{ name: 'runs', error: String(error?.stack ?? error) }] }))
  ran.push({ host, version, seconds: (performance.now() - begin) / 1000, results })
  const failed = results.filter(({ error }) => error)
  console.log(
    `${failed.length > 0 ? 'FAILED' : 'passed'}  ${host.name} ${version}: ${results.length - failed.length} of ${results.length} statements`,
  )
  for (const { name, error } of failed) console.log(`        ${name}\n            ${error?.trimEnd().replaceAll('\n', '\n            ')}`)
}
await resumeInNode()

/** What each runtime saved is continued in Node. */
async function resumeInNode() {
  const savers = ran.filter(({ host }) => exists(join(sessions, host.id)))
  if (savers.length === 0) return
  const files = savers.map(({ host }) => join(sessions, host.id))
  const problems = await execute(process.execPath, ['hosts/resume-sessions.mjs', model, golden, ...files], { cwd: project }).then(
    JSON.parse,
    (error) => files.map(() => String(error)),
  )
  for (const [i, { host, results }] of savers.entries()) {
    results.push({ name: 'its session is continued in Node: 64 greedy tokens', ...(problems[i] && { error: problems[i] }) })
    if (problems[i]) console.log(`FAILED  ${host.name}: its session, continued in Node: ${problems[i]}`)
  }
}

/** @param {string} file */
function exists(file) {
  try {
    return readFileSync(file).length > 0
  } catch {
    return false
  }
}

const rows = ran.map(({ host, version, seconds, results }) => {
  const failed = results.filter(({ error }) => error).length
  return [host.name, version, String(results.length - failed), failed ? String(failed) : '', `${seconds.toFixed(0)} s`]
})
const missing = hosts.filter((host) => host.missing)
for (const { name } of missing) rows.push([name, 'missing', '', '', ''])
printTable([['', 'version', 'passed', 'failed', 'time'], ...rows])
for (const install of new Set(missing.map((host) => host.missing))) {
  const names = missing
    .filter((host) => host.missing === install)
    .map((host) => `${host.name}${matches(required, host) ? ' (REQUIRED)' : ''}`)
  console.log(`missing: ${names.join('; ')}\n    install with: ${install}`)
}

const statements = ran.flatMap(({ results }) => results)
const failures = [
  ...ran.flatMap(({ host, results }) =>
    results.filter(({ error }) => error).map(({ name, error = '' }) => ({ name: `${host.name}: ${name}`, message: error.trimEnd() })),
  ),
  ...missing
    .filter((host) => matches(required, host))
    .map((host) => ({ name: host.name, message: `missing; install with: ${host.missing}` })),
]
const passed = statements.filter(({ error }) => !error).length
const report = { passed, failures, missing: missing.map(({ id }) => id) }
writeFileSync(join(build, 'report.json'), JSON.stringify(report))
for (const { name, message } of failures) console.log(`FAILED  ${name}: ${message}`)
console.log(`\n${passed} passed, ${failures.length} failed${missing.length > 0 ? `, ${missing.length} missing` : ''}`)
process.exitCode = failures.length > 0 || passed === 0 ? 1 : 0

/** @param {string[][]} rows */
function printTable(rows) {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  console.log()
  for (const row of rows)
    console.log(
      row
        .map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
  console.log()
}
