/* In a module service worker, where import() is forbidden: the entry that has the GPU's part inside. */
import { createRuntime } from '../node_modules/routed-attention/dist/index.js'
import * as api from '../node_modules/routed-attention/dist/webgpu.js'
import { check, rejects, run } from '../suite/check.js'
import { runSuite } from '../suite/suite.js'
import { report } from './report.js'

addEventListener('install', () => void skipWaiting())
addEventListener('activate', (event) => event.waitUntil(clients.claim()))
addEventListener('message', (event) => {
  const host = JSON.parse(decodeURIComponent(event.data))
  event.waitUntil(
    report(host, async () => [...(await runSuite(api, host)), ...(await run([['says of the main entry what a GPU needs here', refusal]]))]),
  )
})

async function refusal() {
  await rejects(createRuntime({ device: 'webgpu' }), 'UNSUPPORTED', /import\(\) is forbidden.*'routed-attention\/webgpu'/)
  const runtime = await createRuntime({ device: 'auto' })
  check(
    /routed-attention\/webgpu/.test(runtime.info.unavailable.webgpu),
    `WebGPU is unavailable because "${runtime.info.unavailable.webgpu}"`,
  )
  await runtime.dispose()
}
