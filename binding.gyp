{
  # What ships: one .node and the mock kernel's shared library. The source lists are shared with native/CMakeLists.txt.
  'target_defaults': {
    'include_dirs': ['native'],
    'cflags': ['-Wall', '-Wextra', '-fvisibility=hidden', '-pthread'],
    'cflags_cc': ['-std=c++20', '-fexceptions', '-fvisibility-inlines-hidden'],
    'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++17', '-std=gnu++20'],
    # A thread may still be inside a blocking call when its environment ends, and the signal handler lives for ever:
    # neither library may be unmapped.
    'ldflags': ['-Wl,-z,nodelete', '-Wl,-z,defs', '-pthread'],
    'libraries': ['-ldl'],
    'configurations': {
      'Release': { 'cflags': ['-O2'], 'cflags!': ['-O3'] },
      'Debug': { 'cflags': ['-g', '-O0'] },
    },
  },
  'targets': [
    {
      'target_name': 'vfio_migrate',
      'sources': ['<!@(cat native/vfio/sources.txt native/addon/sources.txt)'],
      'dependencies': ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      'defines': ['NAPI_VERSION=8', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS'],
      # The functions of Node itself are found when it loads the addon.
      'ldflags!': ['-Wl,-z,defs'],
    },
    {
      'target_name': 'vfio_mock',
      'type': 'shared_library',
      'sources': ['<!@(cat native/mock/sources.txt)'],
    },
  ],
}
