import { defineConfig, mergeConfig } from 'vitest/config'
import whole from './vitest.config.js'

/**
 * The tier for while one writes (`npm run test:unit`): under a minute on two cores. It leaves out what runs on a GPU, what
 * starts processes or installs the package, what reads the shipped model's golden values, and whatever else takes more
 * than four seconds a file. `npm test` is everything.
 */
const SLOW = [
  'test/webgpu/**',
  ...['choose-tile', 'cli', 'cli-terminal', 'collection', 'constrained-output', 'examples', 'layer-golden', 'layer-lifetimes'],
  ...['layer-properties', 'layer-same-bits', 'leaks', 'leaving', 'loading-in-parts', 'model-golden', 'model-properties'],
  ...['npm-install', 'process', 'prompt-encoding', 'public-surface', 'readme', 'reference', 'serialized-ops', 'sessions'],
  ...['skipped-barriers', 'source-maps', 'stopping', 'structure', 'threads', 'tokenize', 'training', 'document-examples'],
  ...['io/nothing-kept', 'io/tokenizer-oracle', 'io/tokenizer-stream', 'io/unicode'],
  ...['kernels/local-attention', 'kernels/products', 'kernels/selection'],
].map((name) => (name.endsWith('**') ? name : `test/${name}.test.ts`))

export default mergeConfig(whole, defineConfig({ test: { exclude: ['**/node_modules/**', ...SLOW] } }))
