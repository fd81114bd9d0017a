// @ts-check
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { versionOf } from '../../bench/lib/paths.mjs'
import { servedFolders } from '../../bench/lib/served.mjs'

const PACKAGES = ['onnxruntime-web', '@wllama/wllama']

/**
 * What the bench tab needs of the development server: the rivals that `node bench/install.mjs` has installed, the models,
 * and the bench's own scripts. Looked up again each time, so that a rival may be installed while the server runs.
 * @param {{ hasRivals?: boolean }} [options] hasRivals: false as if none were installed
 * @returns {import('./serve.mjs').Additions}
 */
export function benchAdditions({ hasRivals = true } = {}) {
  return {
    folders: Object.fromEntries(Object.entries(servedFolders()).map(([name, folder]) => [`/bench/${name}/`, folder])),
    answers: {
      '/bench/versions.json': () => ({
        'routed-attention': JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version,
        ...Object.fromEntries(PACKAGES.map((name) => [name, (hasRivals && versionOf(name)) || null])),
      }),
      // each time: installing the rivals anew deletes what was written
      '/bench/models.json': writeModels,
    },
  }
}

/** In a process of its own: it takes a second or two, in which this one goes on serving. */
async function writeModels() {
  const script = fileURLToPath(new URL('../../bench/page-models.mjs', import.meta.url))
  return JSON.parse((await promisify(execFile)(process.execPath, [script])).stdout)
}
