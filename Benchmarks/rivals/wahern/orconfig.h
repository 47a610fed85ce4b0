/* Tor's configuration, of which timeout.c needs nothing. SPDX-License-Identifier: Apache-2.0 */
