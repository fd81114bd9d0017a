// @ts-check

/**
 * The objects that hold conversations, by the ids that clients see: a Durable Object's own id, which Cloudflare signs, so
 * that an id which was not made here is told from one that was without asking anybody.
 * @param {Env} env
 */
export function conversationObjects({ CONVERSATIONS }) {
  /** @param {DurableObjectId} id */
  const nameOf = (id) => `conv_${base64url(bytesOf(id.toString()))}`
  return {
    nameOf,
    newId: () => nameOf(CONVERSATIONS.newUniqueId()),
    /** @param {string} name @param {Request} request */
    fetch(name, request) {
      const text = /^conv_([A-Za-z0-9_-]{43})$/.exec(name)?.[1]
      if (!text) return undefined
      let id
      try {
        id = CONVERSATIONS.idFromString(hexOf(text))
      } catch {
        return undefined
      }
      // 43 letters have two bits more than an id
      if (nameOf(id) !== name) return undefined
      return CONVERSATIONS.get(id).fetch(request)
    },
  }
}

/** @param {string} hex */
function bytesOf(hex) {
  return Array.from(hex.match(/../g) ?? [], (digits) => parseInt(digits, 16))
}

/** @param {number[]} bytes */
function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}

/** @param {string} text in base64url */
function hexOf(text) {
  return [...atob(text.replaceAll('-', '+').replaceAll('_', '/'))].map((char) => char.charCodeAt(0).toString(16).padStart(2, '0')).join('')
}
