/** SPEC.md in plain float64, written to be read: what the package computes is held against this. */
export type { Float64Values, Values } from './arithmetic.js'
export { referenceLayer, type LayerTrace } from './layer.js'
export { referenceInspection, type InspectedLayer } from './inspection.js'
export { referenceModel } from './model.js'
export { camelCaseOptions, layerOptions, resolveOptions, type ForwardOptions, type LayerOptions } from './options.js'
export type { StateDict } from './parameters.js'
export {
  coordinateDescent,
  largest,
  select,
  selectCausally,
  routerScore,
  type Schedule,
  type Selected,
  type SelectionRule,
} from './selection.js'
export { withActivationBits } from './arithmetic.js'
