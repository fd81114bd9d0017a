import { untilAborted } from './source.js'

/** Waits, or rejects with the signal's reason if that comes first; leaves no timer running. */
export async function delay(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  try {
    await untilAborted(signal, new Promise<void>((resolve) => (timer = setTimeout(resolve, milliseconds))))
  } finally {
    clearTimeout(timer)
  }
}
