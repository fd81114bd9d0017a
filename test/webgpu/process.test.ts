/* What a Node script sees of a GPU: the built package, in a process of its own. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { noAdapter } from './gpu.js'

const entry = new URL('../../dist/index.js', import.meta.url)

/** Between its ops garbage is collected: what a device needs must not be garbage. */
const script = (end: string) => `
  import { createRuntime, MixtureOfAutoregressiveAttention, Tensor } from '${entry.href}'
  const collect = async () => {
    for (let time = 0; time < 3; time++) {
      gc()
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  const runtime = await createRuntime({ device: 'webgpu' })
  await collect()
  const options = { dim: 16, dimHead: 8, heads: 2, numRoutedQueries: 2, numRoutedKeyValues: 2, localAttnWindowSize: 4 }
  const layer = new MixtureOfAutoregressiveAttention(runtime, options, { seed: 1 })
  const { data } = await layer.forward(Tensor.randn([1, 4, 16], 1))
  await collect()
  console.log(runtime.info.device, data.length, data.every(Number.isFinite))
  ${end}`

describe.skipIf(noAdapter)('the command', () => {
  test('info names the GPU in use, or says why there is none', () => {
    const info = (device: string) =>
      spawnSync(process.execPath, [fileURLToPath(new URL('../../dist/cli.js', import.meta.url)), 'info', '--device', device], {
        encoding: 'utf8',
      }).stdout
    expect(info('webgpu')).toMatch(/^runs on +webgpu \(.+\)$/m)
    expect(info('auto')).toMatch(/^runs on +webgpu \(.+\)$|^not webgpu +.* is a CPU emulating a GPU$/m)
    expect(info('wasm')).not.toMatch(/webgpu/)
  })
})

describe.skipIf(noAdapter)('a process that computes on a GPU', () => {
  test.each([
    ['disposed of its runtime', 'await runtime.dispose()'],
    ['left its runtime open', ''],
  ])('ends by itself when it has %s', (_name, end) => {
    const { status, signal, stdout } = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '--eval', script(end)], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      encoding: 'utf8',
      timeout: 350_000,
    })
    expect({ status, signal, stdout }).toEqual({ status: 0, signal: null, stdout: 'webgpu 64 true\n' })
  })
})
