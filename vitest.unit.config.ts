import { defineConfig, mergeConfig } from 'vitest/config'
import whole from './vitest.config.js'

/**
 * The tier for while one writes (`npm run test:unit`): under a minute on two cores. It leaves out what runs on a GPU, what
 * starts processes or installs the package, what reads the shipped model's golden values, and whatever else takes more
 * than four seconds a file. `npm test` is everything.
 */
const SLOW = [
  'test/webgpu/**',
  ...['document', 'in-process', 'over-http'].map((name) => `test/ai-sdk/${name}.test.ts`),
  ...['cli', 'cli-terminal', 'eval-and-info', 'generate', 'prompt-encoding', 'quantize', 'serve', 'tokenize'].map(
    (name) => `test/cli/${name}.test.ts`,
  ),
  ...[
    'collection',
    'decode-batches',
    'leaks',
    'leaving',
    'process',
    'serialized-ops',
    'session-schedules',
    'skipped-barriers',
    'stopping',
    'threads',
  ].map((name) => `test/concurrency/${name}.test.ts`),
  ...['choose-tile'].map((name) => `test/device/${name}.test.ts`),
  ...['nothing-kept', 'tokenizer-oracle', 'tokenizer-stream', 'unicode'].map((name) => `test/io/${name}.test.ts`),
  ...['local-attention', 'products', 'selection'].map((name) => `test/kernels/${name}.test.ts`),
  ...['document-examples', 'layer-golden', 'layer-lifetimes', 'layer-properties', 'layer-same-bits', 'reference'].map(
    (name) => `test/layer/${name}.test.ts`,
  ),
  ...[
    'inspect',
    'inspected-sessions',
    'loading-in-parts',
    'model-golden',
    'model-properties',
    'sessions',
    'sessions-of-novels',
    'streamed-loading',
  ].map((name) => `test/model/${name}.test.ts`),
  ...['conversations-recovery', 'soak'].map((name) => `test/server/${name}.test.ts`),
  ...['constrained-output', 'examples', 'npm-install', 'page', 'public-surface', 'readme', 'source-maps', 'structure', 'training'].map(
    (name) => `test/package/${name}.test.ts`,
  ),
  'test/server/openai-client.test.ts',
]

export default mergeConfig(whole, defineConfig({ test: { exclude: ['**/node_modules/**', ...SLOW] } }))
