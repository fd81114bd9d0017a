import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build, golden, here, model, project, root, sessions } from './paths.mjs'
import { execute } from './processes.mjs'

/** Packs the package and installs the tarball in an empty project, beside the suite; saves the session that all continue. */
export async function makeProject() {
  rmSync(build, { recursive: true, force: true })
  for (const folder of [build, project, sessions]) mkdirSync(folder, { recursive: true })
  await execute('npm', ['pack', '--pack-destination', build], { cwd: root })
  const tarball = readdirSync(build).find((name) => name.endsWith('.tgz')) ?? ''
  writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }\n')
  await execute('npm', ['install', '--offline', '--no-audit', '--no-fund', join(build, tarball)], { cwd: project })
  for (const folder of ['suite', 'hosts']) cpSync(join(here, folder), join(project, folder), { recursive: true })
  await execute(process.execPath, ['hosts/save-session.mjs', model, golden, join(sessions, 'node')], { cwd: project })
}
