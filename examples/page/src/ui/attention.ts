import type { LayerLook, Look } from '../protocol.js'

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

export function headsOf({ local, localByHead }: LayerLook): number {
  return Math.max(1, Math.round(localByHead.length / Math.max(local.length, 1)))
}

/** A look in which the weights are those of one head, instead of the mean over heads (`undefined`). */
export function lookOfHead(look: Look, head: number | undefined): Look {
  if (head === undefined) return look
  const layers = look.layers.map((layer) => ({
    ...layer,
    local: rowOf(layer.localByHead, layer.local.length, head),
    experts: layer.experts.map((expert) => ({
      ...expert,
      weights: expert.weights && expert.byHead && rowOf(expert.byHead, expert.weights.length, head),
    })),
  }))
  return { ...look, layers }
}

function rowOf(rows: Float32Array, length: number, row: number): Float32Array {
  return rows.subarray(row * length, (row + 1) * length)
}
