import type { LayerLook } from '../protocol.js'

/** Colours of experts; more experts begin again with the first. */
export const EXPERT_COLOURS = 6

/** That a token read another one. */
export interface Attention {
  readonly position: number
  /** -1: local attention. */
  readonly expert: number
  readonly weight: number
  /** The weight as a share of the largest of its kind: how strongly it is drawn. */
  readonly share: number
}

/** What a token read in one layer, local attention first. Held tokens of an expert that did not take it have weight 0. */
export function attentionOf({ localStart, local, experts }: LayerLook): Attention[] {
  const result: Attention[] = []
  // the token's own weight is no other token
  const most = Math.max(...local.subarray(0, -1), 1e-9)
  local
    .subarray(0, -1)
    .forEach((weight, i) => result.push({ position: localStart + i, expert: -1, weight, share: Math.sqrt(weight / most) }))
  experts.forEach(({ held, weights }, expert) => {
    // if most of the attention went to none of them, all are drawn faintly
    const strength = weights ? Math.sqrt(1 - weights[0]!) : 0
    const largest = weights ? Math.max(...weights.subarray(1), 1e-9) : 1
    held.forEach((position, i) => {
      const weight = weights?.[i + 1] ?? 0
      result.push({ position, expert, weight, share: strength * Math.sqrt(weight / largest) })
    })
  })
  return result
}
