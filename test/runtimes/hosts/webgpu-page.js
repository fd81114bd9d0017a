/* In a page with WebGPU: `webgpu.html?CONFIG`. */
import * as api from 'routed-attention'
import { runWebGpuSuite } from '../suite/webgpu.js'
import { report } from './report.js'

const host = JSON.parse(decodeURIComponent(location.search.slice(1)))
void report(host, () => runWebGpuSuite(api, host))
