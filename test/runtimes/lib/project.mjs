import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build, golden, here, model, project, root, sessions } from './paths.mjs'
import { execute } from './processes.mjs'

/** The library's tarball, and the model's. */
export const tarballs = [root, model].map((folder) => {
  const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  return join(build, `${name}-${version}.tgz`)
})

/**
 * Packs both packages as they were built and installs the tarballs in an empty project, beside the suite; saves the
 * session that all continue.
 */
export async function makeProject() {
  rmSync(build, { recursive: true, force: true, maxRetries: 5 })
  for (const folder of [build, project, sessions]) mkdirSync(folder, { recursive: true })
  refuseStaleBuild()
  for (const folder of [root, model]) await execute('npm', ['pack', '--ignore-scripts', '--pack-destination', build], { cwd: folder })
  writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }\n')
  // bundlers would follow the paths of this repository's own, to the sources
  writeFileSync(join(project, 'tsconfig.json'), '{}\n')
  await execute('npm', ['install', '--offline', '--no-audit', '--no-fund', ...tarballs], { cwd: project })
  for (const folder of ['suite', 'hosts']) cpSync(join(here, folder), join(project, folder), { recursive: true })
  await execute(process.execPath, ['hosts/save-session.mjs', model, golden, join(sessions, 'node')], { cwd: project })
}

/** What is packed is dist/, which is not built here. */
function refuseStaleBuild() {
  const changed = (/** @type {string} */ name) => statSync(join(root, name), { throwIfNoEntry: false })?.mtimeMs ?? 0
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  const newer = sources.find((name) => changed(join('src', name)) > changed('dist/index.js'))
  if (newer) throw new Error(`src/${newer} is newer than dist/: npm run build, then again`)
}
