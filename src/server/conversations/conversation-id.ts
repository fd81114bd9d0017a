import { randomId } from '../random-id.js'

/** 192 bits, which nobody guesses. */
const BYTES = 24
const ID = /^conv_[A-Za-z0-9_-]{32}$/

export function newConversationId(): string {
  return randomId('conv_', BYTES)
}

/** Whether it may be the id of a conversation: what is not need not be looked for. */
export function isConversationId(id: string): boolean {
  return ID.test(id)
}
