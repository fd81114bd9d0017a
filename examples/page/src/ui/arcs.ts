import { svg } from './dom.js'
import { EXPERT_COLOURS } from './attention.js'

interface Source {
  readonly token: HTMLElement
  readonly expert: number
  readonly share: number
}

/** Curves from a token to what it read, in the colours of the experts. */
export function drawArcs(layer: SVGSVGElement, from: HTMLElement, sources: readonly Source[]): void {
  // all measuring before all drawing
  const origin = layer.parentElement!.getBoundingClientRect()
  const start = anchor(from, origin)
  const ends = sources.map(({ token }) => anchor(token, origin))
  layer.replaceChildren(
    ...sources.map(({ expert, share }, index) => {
      const end = ends[index]!
      return svg('path', {
        d: curve(start, end),
        class: 'arc',
        style: `--expert: var(--expert-${expert % EXPERT_COLOURS}); opacity: ${(0.15 + 0.75 * share).toFixed(2)}; stroke-width: ${(0.75 + 2 * share).toFixed(2)}`,
      })
    }),
  )
}

interface Anchor {
  readonly x: number
  readonly top: number
  readonly bottom: number
}

function anchor(token: HTMLElement, origin: DOMRect): Anchor {
  // a token may be broken over two lines
  const { left, width, top, bottom } = token.getClientRects()[0] ?? token.getBoundingClientRect()
  return { x: left + width / 2 - origin.left, top: top - origin.top, bottom: bottom - origin.top }
}

function curve(start: Anchor, end: Anchor): string {
  if (Math.abs(start.top - end.top) < 4) {
    const height = Math.min(Math.abs(start.x - end.x) / 3, 28)
    return `M${start.x} ${start.top} C${start.x} ${start.top - height} ${end.x} ${end.top - height} ${end.x} ${end.top}`
  }
  const middle = (start.top + end.bottom) / 2
  return `M${start.x} ${start.top} C${start.x} ${middle} ${end.x} ${middle} ${end.x} ${end.bottom}`
}
