/**
 * Where the mock answers differently from Linux on purpose. Everything else that differs is a bug of the mock. Entries
 * are tested: one that matches no difference fails the comparison.
 */

/**
 * @typedef {object} Difference
 * @property {RegExp} where matches `part | request` of the lines
 * @property {string} reason
 */

/** @type {Record<'group' | 'cdev', readonly Difference[]>} */
export const differences = { group: [], cdev: [] };
