/*
 * Imports in src/ go downwards only: cli → server → index → model, ai-sdk → model → plan → device → program → memory, io beside device, the files at the root of src/ under all.
 * Types count too.
 */

/** What each part may import besides itself, as paths. */
const below = {
  memory: [],
  io: [],
  program: [],
  device: ['program', 'memory'],
  plan: ['device', 'program', 'memory'],
  model: ['plan', 'device', 'memory', 'io'],
  server: ['model', 'device', 'io'],
  'ai-sdk': ['model'],
  cli: ['server', 'index', 'model', 'plan', 'device', 'memory', 'io'],
}

const rootFiles = '^src/(?!(index|webgpu)[.]ts$)[^/]+[.]ts$'
/** The public surfaces: the package, and the package with the GPU's part inside. */
const index = '^src/(index|webgpu)[.]ts$'
/** The op vocabulary: plain TypeScript that both compilers read. */
const vocabulary = '^assembly/ir/'
const readVocabulary = ['program', 'device', 'plan']
/** Files of the project; packages have a rule of their own. */
const local = { dependencyTypes: ['local', 'localmodule'] }

const packages = ['npm', 'npm-dev', 'npm-optional', 'npm-peer', 'npm-no-pkg', 'npm-unknown']

const layers = Object.entries(below).map(([part, parts]) => ({
  name: `${part}-downwards`,
  comment: `src/${part} may import ${['itself', ...parts].join(', ')} and the files at the root of src.`,
  severity: 'error',
  from: { path: `^src/${part}/` },
  to: {
    ...local,
    pathNot: [
      rootFiles,
      ...[part, ...parts].map((name) => (name === 'index' ? index : `^src/${name}/`)),
      ...(readVocabulary.includes(part) ? [vocabulary] : []),
    ],
  },
}))

module.exports = {
  forbidden: [
    ...layers,
    {
      name: 'root-downwards',
      comment: 'The files at the root of src (errors, tensor, random, …) lie under everything: they import each other only.',
      severity: 'error',
      from: { path: rootFiles },
      to: { ...local, pathNot: rootFiles },
    },
    {
      name: 'index-downwards',
      comment: 'The public surface imports what it exports: neither the command line nor the server, nor anything outside src.',
      severity: 'error',
      from: { path: index },
      to: { ...local, pathNot: '^src/(?!cli/|server/)' },
    },
    {
      name: 'known-part',
      comment: 'A new folder in src needs a place in the order above.',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: `^src/(${Object.keys(below).join('|')})/` },
      to: {},
    },
    {
      name: 'packages',
      comment: 'Packages are few and chosen: a loader in device, a tokenizer in io, the adapter of Node’s server in cli. They are bundled.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(device|io|ai-sdk)/|^src/cli/node-server[.]ts$' },
      to: { dependencyTypes: packages },
    },
    {
      name: 'ai-sdk-types',
      comment: 'Of the AI SDK, only the types of its provider interface: it is the user’s, and nothing of it is bundled.',
      severity: 'error',
      from: { path: '^src/ai-sdk/' },
      to: { dependencyTypes: packages, dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'ai-sdk-provider',
      comment: 'The provider interface is all that is needed of the AI SDK.',
      severity: 'error',
      from: { path: '^src/ai-sdk/' },
      to: { dependencyTypes: packages, pathNot: 'node_modules/@ai-sdk/provider/' },
    },
    { name: 'no-circular', comment: 'No cycles, of types neither.', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'resolvable',
      comment: 'Every import leads somewhere; WebAssembly files are put beside the built entry that imports them.',
      severity: 'error',
      from: { path: '^src/' },
      to: { couldNotResolve: true, pathNot: '[.]wasm$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'default'],
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.d.ts'],
    },
  },
}
