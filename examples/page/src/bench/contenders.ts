/** One of the compared programs, and how it is opened. */
export interface ContenderPlan {
  readonly name: string
  /** A file of bench/pages. */
  readonly script: string
  readonly args: Readonly<Record<string, unknown>>
  /** Which of ours does the same in the same precision; undefined for ours. */
  readonly against: string | undefined
  /** Its package, which may be missing; undefined for ours. */
  readonly package: Package | undefined
}

export type Package = 'onnxruntime-web' | '@wllama/wllama'

/** Versions of what is installed; null for what is not. */
export type Versions = Readonly<Record<Package, string | null> & { 'routed-attention': string }>

/** What the development server answers at bench/models.json: folders and files under bench/. */
export interface Models {
  readonly float32: string
  readonly float16: string
  readonly slidingWindow: { readonly f32: string; readonly q8_0: string }
}

const ours = (name: string, script: string, args: object): ContenderPlan => ({
  ...{ name, script, args: { ...args }, against: undefined, package: undefined },
})

/** Who computes the layer of bench/reference-models. */
export function layerContenders(threads: number): ContenderPlan[] {
  return [
    ours('ours', 'ours-layer', { threads }),
    { name: 'onnxruntime-web', script: 'onnxruntime', args: { threads }, against: 'ours', package: 'onnxruntime-web' },
  ]
}

/** Which language models read and write: those of the bench's suite for browsers. @param positions room for so many tokens */
export function modelContenders(threads: number, positions: number, { float32, float16, slidingWindow }: Models): ContenderPlan[] {
  const wllama = (name: string, file: string, against: string): ContenderPlan => ({
    ...{ name, script: 'wllama', args: { threads, file, positions }, against, package: '@wllama/wllama' as const },
  })
  return [
    ours('ours, float32', 'ours', { threads, model: float32 }),
    ours('ours, float16', 'ours', { threads, model: float16 }),
    ours('ours, int8', 'ours', { threads, model: float16, quantize: 'int8' }),
    wllama('wllama, float32', slidingWindow.f32, 'ours, float32'),
    wllama('wllama, Q8_0', slidingWindow.q8_0, 'ours, int8'),
  ]
}
