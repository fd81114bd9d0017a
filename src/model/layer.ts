import { checkRuntime, type Runtime } from '../device/runtime.js'
import { describe, RoutedAttentionError } from '../errors.js'
import { interruptBy } from '../interrupt.js'
import { checkOptions, namesOf } from '../options.js'
import type { Signal } from '../platform.js'
import { type StandaloneWeights, planStandaloneWeights } from '../plan/memory/standalone-weights.js'
import { Tensor } from '../tensor.js'
import { type LayerOptions, resolveLayerOptions } from './config/config.js'
import type { LayerConfig } from '../plan/config.js'
import { causalForward } from './executor/causal-forward.js'
import type { LayerTrace } from './executor/layer-trace.js'
import { fullSequenceForward } from './executor/full-sequence-forward.js'
import { type InstalledLayer, LayerPlacement } from './placement/layer-placement.js'
import { Lifetime } from './lifetime.js'
import { retryForMemory } from './retry-for-memory.js'
import { layerParameters } from '../plan/parameters.js'
import { checkStateDict, initialLayerParameters } from './parameters/state-dict.js'

/** Options of `layer.forward`. */
export interface ForwardOptions {
  /**
   * Rotary angles for routed attention: (n, dimHead), shared by all heads, or (n, heads · dimHead), one set per head.
   */
  rotaryEmb?: Tensor | null
  /** Overrides the layer's option for this call; at least 1. */
  numRoutedQueries?: number | null
  /** Overrides the layer's option for this call; at least 1. */
  numRoutedKeyValues?: number | null
  /** Also return the routing decisions and the local output. */
  trace?: boolean
  /** Aborting it rejects the call with its reason. */
  signal?: Signal | undefined
}

export type { LayerTrace } from './executor/layer-trace.js'

/** Maximum number of tokens used to compare devices. */
const MEASURED_LENGTH = 2048

const INIT_OPTIONS = namesOf<{ seed?: number }>({ seed: true })
const FORWARD_OPTIONS = namesOf<ForwardOptions>({
  rotaryEmb: true,
  numRoutedQueries: true,
  numRoutedKeyValues: true,
  trace: true,
  signal: true,
})

/**
 * Causal local attention over a window, plus experts that route a few tokens of each window as queries to the best
 * tokens of all earlier windows. SPEC.md defines the maths; the published PyTorch layer has the same name.
 */
export class MixtureOfAutoregressiveAttention {
  /** The layer's options, with defaults filled in. */
  readonly options: LayerConfig
  readonly #lifetime: Lifetime
  readonly #parameters: StandaloneWeights
  readonly #placement: LayerPlacement

  /**
   * Creates a layer whose parameters are drawn from the distributions PyTorch initialises with; the same seed gives the
   * same parameters everywhere.
   * @param init.seed any finite number; if omitted, each layer gets different parameters
   * @throws RoutedAttentionError `BAD_CONFIG` (an option), `BAD_ARGUMENT` (the seed), `DISPOSED` (the runtime),
   * `OUT_OF_MEMORY`
   */
  constructor(runtime: Runtime, options: LayerOptions, init: { seed?: number } = {}) {
    checkRuntime(runtime)
    runtime.assertUsable()
    checkOptions("the layer's third argument", init, INIT_OPTIONS)
    this.options = Object.freeze(resolveLayerOptions(options))
    this.#parameters = planStandaloneWeights(this.options)
    this.#placement = new LayerPlacement(runtime, this.#parameters, () => initialLayerParameters(this.options, init.seed))
    this.#lifetime = new Lifetime(runtime, this, 'layer', this.#placement)
  }

  /**
   * Replaces all parameters with those of a PyTorch state dict (names and shapes as in SPEC section 1). Forward passes
   * already in progress finish with the old parameters.
   * @throws RoutedAttentionError `BAD_WEIGHTS`, listing every missing, unexpected and misshapen parameter; the layer is
   * then unchanged
   */
  loadStateDict(tensors: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>): void {
    this.#lifetime.assertUsable()
    this.#placement.replace(checkStateDict(layerParameters(this.options), tensors))
  }

  /**
   * Runs the layer on a batch of sequences, each on its own.
   * @param x (batch, n, dim)
   * @returns (batch, n, dim), owned by the caller
   * @throws RoutedAttentionError `BAD_SHAPE` (a tensor), `BAD_ARGUMENT` (an option), `OUT_OF_MEMORY`, `DISPOSED`; or
   * the signal's reason
   */
  forward(x: Tensor, options?: ForwardOptions & { trace?: false }): Promise<Tensor>
  /** The same, with what the layer selected. */
  forward(x: Tensor, options: ForwardOptions & { trace: true }): Promise<LayerTrace>
  /** The same, for options whose `trace` is not known in advance. */
  forward(x: Tensor, options?: ForwardOptions): Promise<Tensor | LayerTrace>
  async forward(x: Tensor, options: ForwardOptions = {}): Promise<Tensor | LayerTrace> {
    this.#lifetime.assertUsable()
    const call = this.#checkCall(x, options)
    call.signal?.throwIfAborted()
    // The result must reflect the tensors as they are now, so anything that reads them later needs a copy.
    if (this.options.causal || !this.#placement.readsAtOnce) return this.#forwardLater(ownInputs(call))
    return this.#forwardNow(call)
  }

  async #forwardLater(call: CheckedCall): Promise<Tensor | LayerTrace> {
    const deciding = this.#placement.chooseDevice(
      (installed) => this.#time(call, installed),
      () => this.#lifetime.check(),
    )
    if (deciding) {
      await this.#lifetime.use(() => deciding)
      call.signal?.throwIfAborted()
    }
    return this.#with(call, (installed) => retryForMemory(() => this.#run(call, installed)))
  }

  /**
   * With full-sequence routing on this machine, a forward has read its inputs by the time `#run` returns, so they need
   * no copy. Copying 4 MB took 17 of 125 ms, almost all of it for new pages (n = 4,096, dim 256; Linux in a virtual
   * machine).
   */
  async #forwardNow(call: CheckedCall): Promise<Tensor | LayerTrace> {
    return this.#with(call, (installed) => {
      let read = false
      const running = this.#run(call, installed, () => (read = true))
      if (read) return running
      // the first attempt may have failed already; the retry handles it
      running.catch(() => undefined)
      const own = ownInputs(call)
      return retryForMemory((attempt) => (attempt === 0 ? running : this.#run(own, installed)))
    })
  }

  async #with(call: CheckedCall, work: (installed: InstalledLayer) => Promise<LayerTrace>): Promise<Tensor | LayerTrace> {
    const installed = this.#placement.take()
    try {
      const result = await this.#lifetime.use(() => work(installed))
      return call.trace ? result : result.out
    } finally {
      installed.dispose()
    }
  }

  /**
   * Measures a forward like this one, in milliseconds, capped in length, after a first run that builds the pipelines.
   */
  async #time(call: CheckedCall, installed: InstalledLayer): Promise<number> {
    const length = Math.min(call.length, MEASURED_LENGTH)
    const x = call.x.slice(0, length * this.options.dim)
    const angles = call.angles && new Tensor(call.angles.data.slice(0, length * call.angles.shape[1]!), [length, call.angles.shape[1]!])
    const part: CheckedCall = { ...call, x, angles, batch: Math.min(call.batch, 1), length, trace: false, signal: undefined }
    await this.#run(part, installed)
    const start = performance.now()
    await this.#run(part, installed)
    return performance.now() - start
  }

  /** @param inputsRead called synchronously by a forward that will not read the tensors of `call` again */
  #run(call: CheckedCall, { device, weights }: InstalledLayer, inputsRead?: () => void): Promise<LayerTrace> {
    const { config, batch, length, trace } = call
    const forward = config.causal ? causalForward : fullSequenceForward
    return forward({
      device,
      interrupt: interruptBy(call.signal, this.#lifetime),
      config,
      parameters: this.#parameters,
      weights,
      x: call.x,
      batch,
      length,
      angles: call.angles,
      trace,
      inputsRead,
    })
  }

  #checkCall(x: Tensor, options: ForwardOptions): CheckedCall {
    const { dim, heads, dimHead } = this.options
    if (!(x instanceof Tensor)) throw new RoutedAttentionError('BAD_ARGUMENT', `forward: x must be a Tensor, got ${describe(x)}`)
    if (x.shape.length !== 3 || x.shape[2] !== dim) {
      throw new RoutedAttentionError('BAD_SHAPE', `forward: x must have shape [batch, n, ${dim}], got [${x.shape.join(', ')}]`)
    }
    checkOptions('forward', options, FORWARD_OPTIONS)
    const [batch, length] = x.shape as [number, number]
    const angles = options.rotaryEmb ?? undefined
    if (angles !== undefined) {
      if (!(angles instanceof Tensor))
        throw new RoutedAttentionError('BAD_ARGUMENT', `forward: rotaryEmb must be a Tensor, got ${describe(angles)}`)
      const [rows, width] = angles.shape
      if (angles.shape.length !== 2 || rows !== length || (width !== dimHead && width !== heads * dimHead)) {
        throw new RoutedAttentionError(
          'BAD_SHAPE',
          `forward: rotaryEmb must have shape [${length}, ${dimHead}] or [${length}, ${heads * dimHead}] for this x, got [${angles.shape.join(', ')}]`,
        )
      }
    }
    const { trace = false, signal } = options
    signal?.throwIfAborted()
    if (typeof trace !== 'boolean')
      throw new RoutedAttentionError('BAD_ARGUMENT', `forward: trace must be a boolean, got ${describe(trace)}`)
    return {
      x: valuesOf('x', x),
      angles: angles && new Tensor(valuesOf('rotaryEmb', angles), angles.shape),
      batch,
      length,
      trace,
      signal,
      config: {
        ...this.options,
        numRoutedQueries: checkOverride('numRoutedQueries', options.numRoutedQueries) ?? this.options.numRoutedQueries,
        numRoutedKeyValues: checkOverride('numRoutedKeyValues', options.numRoutedKeyValues) ?? this.options.numRoutedKeyValues,
      },
    }
  }

  /**
   * Releases the layer's memory. Idempotent. If never called, the memory is released after the layer is
   * garbage-collected.
   */
  dispose(): void {
    this.#lifetime.dispose()
  }

  /** Same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

interface CheckedCall {
  readonly x: Float32Array
  readonly angles: Tensor | undefined
  readonly batch: number
  readonly length: number
  readonly trace: boolean
  readonly signal: Signal | undefined
  readonly config: LayerConfig
}

/** @throws RoutedAttentionError `OUT_OF_MEMORY` */
function ownInputs(call: CheckedCall): CheckedCall {
  const { x, angles } = call
  return { ...call, x: copyOf(x), angles: angles && new Tensor(copyOf(angles.data), angles.shape) }
}

function copyOf(values: Float32Array): Float32Array {
  const copy = Tensor.zeros([values.length]).data
  if (values.length > 0) copy.set(values) // the buffer of an empty tensor may not even be aligned
  return copy
}

/** A tensor's values, provided there are still as many as when it was created. */
function valuesOf(name: string, { data, shape }: Tensor): Float32Array {
  const size = shape.reduce((product, length) => product * length, 1)
  if (data.length !== size) {
    const came = `shape [${shape.join(', ')}] but ${data.length} values: its buffer was transferred or resized`
    throw new RoutedAttentionError('BAD_SHAPE', `forward: ${name} must hold as many values as its shape says, got ${came}`)
  }
  return data
}

function checkOverride(name: string, value: number | null | undefined): number | undefined {
  if (value === undefined || value === null) return undefined
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `forward: ${name} must be an integer from 1, got ${describe(value)}`)
  }
  return Math.min(value, 2 ** 30)
}
