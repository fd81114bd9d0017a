// @ts-check
import { bench, built, layers, model, root } from './paths.mjs'

/**
 * What pages of the bench load, by the first part of its path. What lies here names the others by paths relative to its
 * own, so that it may be served from any folder of an origin.
 * @returns {Record<string, string>} folders
 */
export const servedFolders = () => ({
  dist: `${root}dist/`,
  model: `${model}/`,
  wllama: `${bench}node_modules/@wllama/wllama/esm/`,
  onnxruntime: `${bench}node_modules/onnxruntime-web/dist/`,
  layers,
  lib: `${bench}lib/`,
  pages: `${bench}pages/`,
  built: built(''),
})
