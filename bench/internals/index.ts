/*
 * Inner modules of the package, for suites that time one op or one kernel rather than a model. TypeScript, so that what
 * they use of src/ is checked with it; lib/build.mjs bundles them.
 */
export { createRuntime } from '../../src/device/create-runtime.js'
export { Runtime } from '../../src/device/runtime.js'
export { chooseBuild } from '../../src/device/wasm/builds.js'
export { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
export { parseModelConfig } from '../../src/model/config/config.js'
export { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
export { modelParameters } from '../../src/plan/parameters.js'
export { Tensor } from '../../src/tensor.js'
export { Products } from './gpu-products.js'
export { prepareProduct } from './product.js'
