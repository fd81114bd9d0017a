import { existsSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { chromiumWithWebGpu, visit } from '../lib/browsers.mjs'
import { installTools, node, project, root, tool } from '../lib/paths.mjs'
import { serve } from '../lib/server.mjs'
import { lavapipe, swiftShader } from '../lib/vulkan.mjs'
import { runProcess } from './processes.mjs'

const bun = tool('@oven/bun-linux-x64/bin/bun')
const deno = tool('@deno/linux-x64-glibc/deno')

/** Where there is WebGPU, on processors that stand in for a GPU. Debian 12's Mesa is too old for Dawn, not for Deno. */
export const webgpu = [
  {
    id: 'webgpu-chromium',
    name: 'Chromium, WebGPU',
    missing: chromiumWithWebGpu.missing,
    async run() {
      const id = 'webgpu-chromium'
      const { origin, close } = await serve(project)
      const config = encodeURIComponent(JSON.stringify({ id, data: origin, adapter: 'swiftshader' }))
      return visit(chromiumWithWebGpu, id, `${origin}/hosts/webgpu.html?${config}`).finally(close)
    },
  },
  ...[20, 24].map((version) => host(`webgpu-node-${version}`, `Node ${version}`, node(version), [], swiftShader, 'swiftshader')),
  host('webgpu-bun', 'Bun', bun, ['run'], swiftShader, 'swiftshader'),
  host('webgpu-deno', 'Deno', deno, ['run', '-A'], lavapipe, 'llvmpipe'),
]

/**
 * @param {string} id
 * @param {string} name
 * @param {string | undefined} binary
 * @param {string[]} command
 * @param {import('../lib/vulkan.mjs').Driver} driver
 * @param {string} adapter
 */
function host(id, name, binary, command, driver, adapter) {
  return {
    id,
    name: `${name}, WebGPU`,
    missing: binary ? driver.missing : installTools,
    run() {
      installDawn()
      return runProcess(/** @type {string} */ (binary), [...command, 'hosts/webgpu-process.mjs'], { id, adapter }, driver.environment())
    },
  }
}

/** As a user would with `npm install webgpu`. */
function installDawn() {
  const folder = join(project, 'node_modules/webgpu')
  if (!existsSync(folder)) symlinkSync(join(root, 'node_modules/webgpu'), folder, 'dir')
}
