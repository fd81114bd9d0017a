import { defineConfig } from 'vitest/config'

const nodeMajor = Number(process.versions.node.split('.')[0])
/** Where a report is wanted besides, as JSON. */
const { TEST_REPORT } = process.env

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/support/exact-memory.ts', 'test/support/seeded-random.ts'],
    // A process for each file: threads that a test forgets end with it, and flags of the engine reach the threads it starts.
    pool: 'forks',
    maxWorkers: 2,
    reporters: TEST_REPORT ? ['default', ['json', { outputFile: TEST_REPORT }]] : ['default'],
    // Shared machines stall for seconds, and software drivers of GPUs take minutes; nothing here is timed.
    testTimeout: 400_000,
    hookTimeout: 400_000,
    // Node 20 has relaxed SIMD behind this flag only; newer ones have it and no longer know the flag.
    execArgv: nodeMajor < 22 ? ['--experimental-wasm-relaxed-simd'] : [],
  },
})
