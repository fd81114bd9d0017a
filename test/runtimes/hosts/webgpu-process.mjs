/* In Node, Deno and Bun with a Vulkan driver: `webgpu-process.mjs CONFIG`. */
import * as api from 'routed-attention'
import { runWebGpuSuite } from '../suite/webgpu.js'
import { report } from './report.js'

const host = JSON.parse(process.argv[2])
void report(host, () => runWebGpuSuite(api, host))
